"""Average: the mean of checkpoints of one model, with the graph of the last."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.formats.tensorflow.folder import checkpoints_in
from ckpttool.formats.tensorflow.prefix import record_checkpoint
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery import average as surgery


@dataclass(frozen=True, repr=False)
class AveragePlan(CheckpointPlan):
    """The average to write; with `latest` the `checkpoint` file of its folder will refer to it."""

    latest: bool = False

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors and the graph."""
        if not self.latest:
            return super().write(output, overwrite, command)
        with staged_output(Path(output), self, overwrite) as place:
            noticed = super().write(place, False, command)
            record_checkpoint(place.parent, place)
        return noticed


def plan_average(
    checkpoints: Sequence[Path],
    output: Path | None,
    *,
    weights: Sequence[float] | None = None,
    decay: float | None = None,
    last: int | None = None,
    lenient: bool = False,
    latest: bool = False,
    to: str | None = None,
) -> AveragePlan:
    """Plan what `average` writes: a weighted mean, or a moving average with a `decay` between 0 and 1.

    With `last` the checkpoints are the `last` ones with the most steps in the one folder given. `lenient` skips
    weights in which the checkpoints differ; `latest` records the output as the latest checkpoint of its folder. The
    family is that of the last one, unless the output or `to` specifies another.

    Raises:
        PlanError: there are too few checkpoints, their tensors differ, or the number of weights is wrong.
    """
    notes: list[str] = []
    if last is not None:
        checkpoints = _newest(checkpoints, last)
        notes.append(f"averaged: {', '.join(map(str, checkpoints))}")
    opened = [described(open_checkpoint(path), notes.append) for path in checkpoints]
    combined = surgery.plan_average(opened, weights, decay, lenient)
    return replace(AveragePlan.of_combined(combined, output, notes, to), latest=latest)


def _newest(folders: Sequence[Path], count: int) -> list[Path]:
    """Return the checkpoints with the most steps in the one folder given.

    Raises:
        PlanError: several were given, or it does not contain as many.
    """
    if len(folders) > 1:
        raise PlanError("`last` takes one folder of checkpoints")
    prefixes = [saved.prefix for saved in checkpoints_in(folders[0])]
    if len(prefixes) < count:
        raise PlanError(f"{folders[0]}: {counted(len(prefixes), 'checkpoint')}, fewer than `last` {count}")
    return prefixes[-count:]
