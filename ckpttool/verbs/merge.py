"""Merge: combine checkpoints into one, with the graph of the last if it fits."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.data.files import Source
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery import merge as surgery
from ckpttool.surgery.merge import MergeParameters
from ckpttool.surgery.merging.conflicts import LayerConflict, conflicts
from ckpttool.surgery.merging.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ckpttool.verbs.soup import SoupPlan

SOUP = "soup"
"""The method that runs the models on rows."""
HOWS = (*surgery.HOWS, SOUP)
"""The methods of merging."""


def plan_merge(
    checkpoints: Sequence[Path],
    output: Path | None,
    how: str = "union",
    *,
    base: Path | None = None,
    vocab: Sequence[Path | str] = (),
    data: Source | None = None,
    alpha: str | None = None,
    allow_op: Collection[str] = (),
    lenient: bool = False,
    to: str | None = None,
    **parameters: Unpack[MergeParameters],
) -> "CheckpointPlan | SoupPlan":
    """Plan what `merge` writes.

    Args:
        checkpoints: Two or more, in order.
        output: The output; its suffix determines the format. None for a plan that is only shown.
        how: One of `HOWS`: union, intersection, a method that computes weights, or soup, which asks rows.
        base: The model from which the others were trained (methods on task vectors).
        vocab: The files with the tokens of each checkpoint in order, and of the base; rows of the same token are
            merged.
        data: The rows to evaluate on (soup, and `alpha`).
        alpha: Interpolation coefficients from the first to the second, such as 0:1:0.1, of which the best is used.
        allow_op: Types of ops that may run though they can have side effects (soup, and `alpha`).
        lenient: Whether to skip weights in which the checkpoints differ.
        to: The family to write, if not that of the output's path, or of the last checkpoint.
        parameters: The parameters of `how`, described in `MergeParameters`.

    Raises:
        PlanError: a union has a name twice without a preference; weights differ; an option does not apply.
        FormatError: a file has no tokens, or a token twice.
    """
    if how == SOUP or alpha is not None or data is not None:
        given = surgery.given_of({"base": base, "vocab": vocab, **parameters})
        return _judged(checkpoints, how, data, alpha, to, [*given], allow_op)
    notes: list[str] = []
    combined = surgery.plan_merge(
        [described(open_checkpoint(path), notes.append) for path in checkpoints],
        how,
        base=checkpoint.open(base) if base else None,
        vocab=[Vocabulary.read(Path(path)) for path in vocab],
        lenient=lenient,
        **parameters,
    )
    return CheckpointPlan.of_combined(combined, output, notes, to)


def _judged(
    checkpoints: Sequence[Path],
    how: str,
    data: Source | None,
    alpha: str | None,
    to: str | None,
    given: Sequence[str],
    allow_op: Collection[str],
) -> "SoupPlan":
    """Plan a merge that is decided by rows.

    Raises:
        PlanError: there are no rows, or something is specified that they decide.
    """
    asked = f"`alpha` {alpha}" if alpha is not None else f"`how` {SOUP}"
    if data is None:
        raise PlanError(f"{asked} is evaluated on data: specify `data`")
    if alpha is None and how != SOUP:
        raise PlanError(f"`data` does not apply to {how}; it is for `how` {SOUP} and `alpha`")
    if given or (alpha is not None and how not in ("union", SOUP)):
        others = [f"`{name}`" for name in given] or [f"`how` {how}"]
        raise PlanError(f"{asked} is evaluated on data: leave {' and '.join(others)} out")
    from ckpttool.model.model import Model  # what runs graphs is imported where rows decide
    from ckpttool.verbs.soup import plan_soup

    return plan_soup([Model.open(path, allow_op) for path in checkpoints], data, alpha, to=to)


def merge_conflicts(checkpoints: Sequence[str | Path], base: str | Path) -> list[LayerConflict]:
    """Return the conflicts by layer between models tuned from one base, the worst first, and a row for all.

    Args:
        checkpoints: Two models or more.
        base: The model from which they were trained.

    >>> import numpy as np, tempfile, ckpttool
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, value in (("base", 0.0), ("up", 1.0), ("down", -1.0)):
    ...     ckpttool.save({"fc/kernel": np.full((2, 3), value)}, folder / f"{name}.npz")
    >>> up, down, base = (folder / f"{name}.npz" for name in ("up", "down", "base"))
    >>> [(row.name, row.conflicts) for row in merge_conflicts([up, down], base)]
    [('fc', 1.0), ('all layers', 1.0)]

    Raises:
        PlanError: there are fewer than two models, or their weights differ.
    """
    opened = [described(open_checkpoint(path), lambda _note: None) for path in (*checkpoints, base)]
    return conflicts(opened[-1], opened[:-1])
