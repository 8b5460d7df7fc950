"""Apply: a plan of several steps on several checkpoints, carried out in one pass; a failed assertion writes nothing."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.formats.format import Writing
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.checkpoint_plan import CheckpointPlan, format_to_write
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.plans.assertions import Checks
from ckpttool.plans.run import carry_out
from ckpttool.plans.schema import schema
from ckpttool.plans.script import Script, Value
from ckpttool.plans.step import Taken
from ckpttool.verbs.edit import plan_edited

Source = str | PathLike[str] | Checkpoint | Mapping[str, Tensor | Array]
"""A checkpoint, its path, or arrays by name."""
__all__ = ["ApplyPlan", "apply", "plan_apply", "schema"]


@dataclass(frozen=True, repr=False)
class ApplyPlan(CheckpointPlan):
    """What a plan's steps made and will be written; a row for each step, and the assertions that wait for values."""

    rows: Sequence[Taken] = ()
    checks: Checks = field(default_factory=Checks)

    @property
    def done(self) -> str:
        """A statement about the written output."""
        asserted = sum(row.step.startswith("assert ") for row in self.rows)
        held = f", {counted(asserted, 'assertion')} held" if asserted else ""
        return f"{super().done}, {counted(len(self.rows), 'step')}{held}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the steps as JSON, each with all that it takes."""
        return [row.as_json() for row in self.rows]

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors and the graph, unless an assertion on values does not hold: nothing is written then.

        Raises:
            ExistingOutput: the output exists.
            PlanError: an assertion does not hold; the message has its place, the tensor and the numbers.
        """
        with staged_output(Path(output), self, overwrite) as place:
            noticed = super().write(place, False, command)
            self.checks.finish()
        return noticed


def plan_apply(
    plan: str | Path | Mapping[str, Any],
    sources: Sequence[Source] | Source = (),
    output: str | Path | None = None,
    variables: Mapping[str, Value] | None = None,
    with_graph: bool = True,
    to: str | None = None,
    lenient: bool = False,
    like: Path | None = None,
    shard_bytes: int | None = None,
) -> ApplyPlan:
    """Plan what `apply` writes; no value is read before the plan's `write`.

    Args:
        plan: The plan: a file of TOML, the TOML as text, or a mapping of what it holds.
        sources: The checkpoints or their paths in the order in which the plan names them, but for those that it has
            paths for; one may stand alone.
        output: Where the result will be written; its suffix says the format. None for a plan that is only shown.
        variables: Values in the places of the plan's own.
        with_graph: Let the graph beside the checkpoint that the last step worked on come along.
        to: The format to write, if not that which the output says, or that of the model's family.
        lenient: Leave out tensors that the format cannot hold, and list them.
        like: A file whose structure the output gets (Keras formats).
        shard_bytes: The maximum bytes per file, if the format allows several files.

    Raises:
        FormatError: the plan is no TOML, or has what means nothing.
        CkptError: a step takes nothing, is refused, or an assertion on names, shapes or dtypes does not hold.
    """
    script = Script.given_as(plan)
    notes: list[str] = []
    given = [sources] if isinstance(sources, str | PathLike | Mapping) else sources
    opened = {name: described(_opened(each), notes.append) for name, each in script.given(given).items()}
    for name, expected in script.hashes.items():
        _require_hash(opened[name], expected, f"{script.path or 'the plan'}, source {name}")
    carried = carry_out(script, opened, variables)
    made = carried.edited.tensors
    choose = partial(format_to_write, made, with_graph)
    target = choose(Path(output), to, like) if output is not None else to or made.format or "bundle"
    how = Writing(like=like, shard_bytes=shard_bytes)
    edited = plan_edited(carried.source, carried.edited, [*notes, *carried.notes], target, with_graph, lenient, how)
    told = (ChainMap(*carried.flaws), carried.vocabulary, carried.checks)
    return ApplyPlan(edited.tensors, edited.to, carried.steps, edited.notes, edited.how, edited.graph, *told)


def _opened(source: Source) -> Checkpoint:
    """Return a checkpoint as it is, arrays as one, or what is at a path."""
    if isinstance(source, Mapping):
        return source if isinstance(source, Checkpoint) else Checkpoint.of(source)
    return open_checkpoint(Path(source))


def _require_hash(source: Checkpoint, expected: str, place: str) -> None:
    """Check that a source is the file that a plan is for.

    Raises:
        PlanError: it is another, or no file.
    """
    files = source.provenance.files
    found = files[0].source.hash.removeprefix("sha256:") if files and not source.provenance.edits else "none"
    if found != expected.removeprefix("sha256:"):
        raise PlanError(f"{place}: {source.path or 'arrays'} has the sha256 {found}, expected {expected}")


def apply(
    plan: str | Path | Mapping[str, Any],
    sources: Sequence[Source] | Source,
    output: str | Path,
    variables: Mapping[str, Value] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> ApplyPlan:
    r"""Carry out a plan and write what it makes; `plan_apply` has the arguments and options, and what is raised.

    >>> import numpy as np, tempfile, ckpttool
    >>> folder = Path(tempfile.mkdtemp())
    >>> ckpttool.save({"fc/kernel": np.ones((2, 3))}, folder / "a.npz")
    >>> steps = [{"rename": "fc=>out"}, {"assert": "out/.*", "finite": True}]
    >>> done = apply({"step": steps}, [folder / "a.npz"], folder / "b.npz")
    >>> again = apply('[[step]]\nrename = "fc=>out"', [ckpttool.open(folder / "a.npz")], folder / "c.npz")
    >>> list(ckpttool.open(folder / "b.npz"))
    ['out/kernel']

    Raises:
        ExistingOutput: the output exists.
    """
    planned = plan_apply(plan, sources, output, variables, **options)
    planned.check(output, overwrite)
    shown = plan if isinstance(plan, Path) else "-"
    planned.write(output, overwrite, Command.of_call("apply", shown, output))
    return planned
