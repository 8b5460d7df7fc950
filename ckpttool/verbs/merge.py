"""Merge: checkpoints made one, with the graph of the last where it fits."""

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
"""The way to merge that runs the models on rows."""
HOWS = (*surgery.HOWS, SOUP)
"""The ways to merge."""


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
        checkpoints: Two or more, in the order in which they count.
        output: Where the plan will be written; its suffix says the format. None for a plan that is only shown.
        how: One of `HOWS`: union, intersection, a method that computes weights, or soup, which asks rows.
        base: What the models were trained from (task-arithmetic, ties, dare, breadcrumbs, model-stock).
        vocab: The files with the tokens of each checkpoint in their order, and of the base: rows of the same token are
            merged.
        data: The rows that judge (soup, and `alpha`).
        alpha: Parts of the way from the first to the second, such as 0:1:0.1, of which the best is taken.
        allow_op: Types of ops that may run though they can have side effects (soup, and `alpha`).
        lenient: Leave out weights on which the checkpoints do not agree.
        to: The family to write, if not that which the output says, or that of the last checkpoint.
        parameters: Those of `how`, each described in `MergeParameters`.

    Raises:
        PlanError: a union has a name twice and nothing is preferred; weights do not agree; an option does not fit.
        FormatError: a file has no tokens, or one twice.
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
    """Plan what rows decide.

    Raises:
        PlanError: there are none, or something is given that they decide.
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
    """Return in which layers models that were tuned from one base disagree, the worst first, and a row for all.

    Args:
        checkpoints: Two models or more.
        base: What they were trained from.

    >>> import numpy as np, tempfile, ckpttool
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, value in (("base", 0.0), ("up", 1.0), ("down", -1.0)):
    ...     ckpttool.save({"fc/kernel": np.full((2, 3), value)}, folder / f"{name}.npz")
    >>> up, down, base = (folder / f"{name}.npz" for name in ("up", "down", "base"))
    >>> [(row.name, row.conflicts) for row in merge_conflicts([up, down], base)]
    [('fc', 1.0), ('all layers', 1.0)]

    Raises:
        PlanError: there are fewer than two models, or weights do not agree.
    """
    opened = [described(open_checkpoint(path), lambda _note: None) for path in (*checkpoints, base)]
    return conflicts(opened[-1], opened[:-1])
