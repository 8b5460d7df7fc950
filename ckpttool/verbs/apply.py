"""Apply: run a plan of several steps on several checkpoints in one pass; a failed assertion writes nothing."""

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
    """The result of a plan's steps, to be written; a row per step, and the assertions that need values."""

    rows: Sequence[Taken] = ()
    checks: Checks = field(default_factory=Checks)
    sources: Sequence[Path] = ()
    """The paths of the sources, including those that are in the plan."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        asserted = sum(row.step.startswith("assert ") for row in self.rows)
        held = f", {counted(asserted, 'assertion')} held" if asserted else ""
        return f"{super().done}, {counted(len(self.rows), 'step')}{held}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the steps as JSON, each with everything that it matches."""
        return [row.as_json() for row in self.rows]

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors and the graph; if an assertion on values fails, nothing is written.

        Raises:
            ExistingOutput: the output exists.
            PlanError: an assertion fails; the message has its line, the tensor and the numbers.
        """
        with staged_output(Path(output), self, overwrite) as place:
            noticed = super().write(place, False, command)
            self.checks.finish()
        return noticed


def plan_apply(
    plan: str | Path | Mapping[str, Any],
    sources: Sequence[Source] | Source = (),
    output: str | Path | None = None,
    *,
    variables: Mapping[str, Value] | None = None,
    with_graph: bool = True,
    to: str | None = None,
    lenient: bool = False,
    like: Path | None = None,
    shard_bytes: int | None = None,
) -> ApplyPlan:
    """Plan what `apply` writes; no value is read before the plan's `write`.

    Args:
        plan: The plan: a TOML file, TOML text, or a mapping with its content.
        sources: The checkpoints or their paths in the order in which the plan names them, without those whose
            paths are in the plan; a single one needs no list.
        output: The output; its suffix determines the format. None for a plan that is only shown.
        variables: Values of variables that replace the plan's own.
        with_graph: Whether to write the graph beside the checkpoint of the last step too.
        to: The format to write, if not that of the output's suffix, or of the model's family.
        lenient: Whether to skip, and list, tensors that the format cannot store.
        like: A file whose structure the output gets (Keras formats).
        shard_bytes: The maximum bytes per file, if the format allows several files.

    Raises:
        FormatError: the plan is not TOML, or has unknown keys.
        CkptError: a step matches nothing or is refused, or an assertion on names, shapes or dtypes fails.
    """
    script = Script.given_as(plan)
    notes: list[str] = []
    given = [sources] if isinstance(sources, str | PathLike | Mapping) else sources
    named = script.given(given)
    opened = {name: described(_opened(each), notes.append) for name, each in named.items()}
    for name, expected in script.hashes.items():
        _require_hash(opened[name], expected, f"{script.path or 'the plan'}, source {name}")
    carried = carry_out(script, opened, variables)
    made = carried.edited.tensors
    choose = partial(format_to_write, made, with_graph)
    target = choose(Path(output), to, like) if output is not None else to or made.format or "bundle"
    how = Writing(like=like, shard_bytes=shard_bytes)
    edited = plan_edited(
        carried.source, carried.edited, [*notes, *carried.notes], target, with_graph, lenient=lenient, how=how
    )
    told = (ChainMap(*carried.flaws), carried.vocabulary, carried.checks)
    paths = [Path(each) for each in named.values() if isinstance(each, str | PathLike)]
    return ApplyPlan(edited.tensors, edited.to, carried.steps, edited.notes, edited.how, edited.graph, *told, paths)


def _opened(source: Source) -> Checkpoint:
    """Return a checkpoint unchanged, arrays as a checkpoint, or the checkpoint at a path."""
    if isinstance(source, Mapping):
        return source if isinstance(source, Checkpoint) else Checkpoint.of(source)
    return open_checkpoint(Path(source))


def _require_hash(source: Checkpoint, expected: str, place: str) -> None:
    """Check that a source is the file with the hash in the plan.

    Raises:
        PlanError: it is another file, or not a file.
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
    r"""Run a plan and write the result; see `plan_apply` for the arguments and errors.

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
    planned = plan_apply(plan, sources=sources, output=output, variables=variables, **options)
    planned.check(output, overwrite)
    shown = plan if isinstance(plan, Path) else "-"
    planned.write(output, overwrite, Command.of_call("apply", shown, output))
    return planned
