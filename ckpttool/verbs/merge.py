"""Merge: checkpoints made one, with the graph of the last where it fits."""

from collections.abc import Sequence
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery import merge as surgery
from ckpttool.surgery.merge import Prefer

HOWS = surgery.HOWS
"""The ways to merge."""


def plan_merge(
    checkpoints: Sequence[Path],
    output: Path | None,
    how: str = "union",
    prefer: Prefer | None = None,
    base: Path | None = None,
    weights: tuple[float, ...] | None = None,
    t: float | None = None,
    density: float | None = None,
    seed: int | None = None,
    lenient: bool = False,
    to: str | None = None,
) -> CheckpointPlan:
    """Plan what `merge` writes.

    Args:
        checkpoints: Two or more, in the order in which they count.
        output: Where the plan will be written; its suffix says the format. None for a plan that is only shown.
        how: One of `HOWS`: union, intersection, or a method that computes weights.
        prefer: Whose tensor it is that several have (union, intersection).
        base: What the models were trained from (ties, dare).
        weights: How much each checkpoint counts (linear, sum, ties, dare).
        t: How far to go from the first to the second, 0 to 1 (slerp).
        density: The part of what was learned that stays, 0 to 1 (ties, dare).
        seed: What is drawn from (dare).
        lenient: Leave out weights on which the checkpoints do not agree.
        to: The family to write, if not that which the output says, or that of the last checkpoint.

    Raises:
        PlanError: a union has a name twice and nothing is preferred; weights do not agree; an option does not fit.
    """
    notes: list[str] = []
    opened = [described(open_checkpoint(path), notes.append) for path in checkpoints]
    start = checkpoint.open(base) if base else None
    combined = surgery.plan_merge(opened, how, prefer, start, weights, t, density, seed, lenient)
    return CheckpointPlan.of_combined(combined, output, notes, to)
