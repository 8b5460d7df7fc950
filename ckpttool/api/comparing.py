"""Comparing two checkpoints, and checking one."""

from collections.abc import Mapping

from ckpttool.api.kinds import CheckpointLike, PathLike, as_checkpoint, path_of
from ckpttool.surgery import diff as diff_surgery
from ckpttool.surgery import verify as verify_surgery
from ckpttool.surgery.diff import Diff
from ckpttool.surgery.verify import Unchanged
from ckpttool.verbs import verify as verify_verb
from ckpttool.verbs.verify import Verdict


def diff(a: CheckpointLike, b: CheckpointLike, kind: Mapping[str, str] | None = None) -> Diff:
    """Compare two checkpoints tensor by tensor, by value.

    >>> import numpy as np
    >>> result = diff({"fc/bias": np.array([1.0, 2.0])}, {"fc/bias": np.array([1.0, 2.5])})
    >>> result.changed[0].max_abs, result.equal
    (0.5, False)

    Args:
        a: A path, a checkpoint, a model, or arrays by name.
        b: Likewise.
        kind: The kind of each tensor by name, if known; otherwise names decide.

    Raises:
        MissingFile: one of them does not exist.
    """
    return diff_surgery.diff(as_checkpoint(a), as_checkpoint(b), kind)


def verify(
    path: CheckpointLike, unchanged: tuple[str, CheckpointLike] | None = None, against: PathLike | None = None
) -> Verdict:
    """Verify every checksum and every rule of a checkpoint's format, and the graph beside it.

    Args:
        path: A checkpoint or a graph.
        unchanged: A pattern and another checkpoint; the matched tensors must have the same bytes in both.
        against: A SHA-256 hash, or a lineage file with one, that the file must have.

    Raises:
        MissingFile: there is no checkpoint.
        FormatError: its format is unknown.
    """
    same = None if unchanged is None else (unchanged[0], path_of(unchanged[1]))
    return verify_verb.verdict(path_of(path), same, against=None if against is None else str(against))


def unchanged(a: CheckpointLike, b: CheckpointLike, pattern: str) -> Unchanged:
    """Compare the bytes of the tensors of `a` that match a pattern with those of `b`.

    >>> import numpy as np
    >>> unchanged({"hidden1/bias": np.zeros(2)}, {"hidden1/bias": np.zeros(2)}, "hidden1").same
    ('hidden1/bias',)

    Args:
        a: A path, a checkpoint, a model, or arrays by name.
        b: Likewise.
        pattern: The pattern of the tensors.

    Raises:
        UnknownName: the pattern matches nothing in `a`.
    """
    return verify_surgery.unchanged(as_checkpoint(a), as_checkpoint(b), pattern)
