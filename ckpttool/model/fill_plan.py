"""Filling: a checkpoint without a graph whose tensors get other values, everything else in it as it was.

So weights go into an object checkpoint of TensorFlow 2, a file of Keras or any other: the program that reads it finds
every tensor where it was, in its shape and dtype.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.names import layer_of
from ckpttool.core.notebooks import ShownPlan
from ckpttool.foreign.pairing import Pairing
from ckpttool.formats import registry
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.plan import PlanRow
from ckpttool.surgery.convert import left_behind


@dataclass(frozen=True)
class FillRow(PlanRow):
    """A weight of a checkpoint: whether it gets a value, or keeps its own; what trains it is not known."""

    def cells(self) -> dict[str, Any]:
        """Return the row as people are shown it."""
        value = "kept" if self.source is None else f"restored from {self.source}"
        return {"layer": self.layer, "variable": self.target, "shape": self.shape, "value": value}


@dataclass(frozen=True, repr=False)
class FillPlan(ShownPlan):
    """The tensors of a checkpoint, those that are paired with other values, and a row for each of its weights."""

    tensors: Checkpoint
    rows: tuple[FillRow, ...]
    notes: Sequence[str]

    @classmethod
    def of(cls, pairing: Pairing, held: Checkpoint, notes: Sequence[str]) -> "FillPlan":
        """Plan to fill a checkpoint with what was paired with its tensors."""
        made_of = Provenance.joined(pairing.weights.provenance, held.provenance)
        filled: Mapping[str, Any] = {name: pairing.tensors.get(name) or held[name] for name in held}
        rows = tuple(
            FillRow(layer_of(name), name, target.shape or (), pairing.sources.get(name), target.trainable)
            for name, target in pairing.wanted.items()
            if target.kind == "weight"
        )
        return cls(held.holding(filled).made_of(made_of), rows, notes)

    @property
    def done(self) -> str:
        """What is true of the output afterwards."""
        filled = sum(row.source is not None for row in self.rows)
        return f"written and read back, {filled} of {counted(len(self.rows), 'weight')} imported"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [row.as_json() for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        name = registry.for_output(Path(output), like=self.tensors.path).NAME
        index = Path(f"{str(output).removesuffix('.index')}.index")
        refuse_existing([index if name in ("object", "bundle") else Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write a checkpoint of the kind that was filled, unless the output's suffix says another, and read it back.

        Return what of it does not come along into another kind.

        Raises:
            ExistingOutput: the output is there already.
            CkptError: a value cannot be read.
        """
        target = registry.for_output(Path(output), like=self.tensors.path)
        command = command or Command.of_call("import", self.tensors.path, output)
        checkpoint.save(self.tensors, output, target.NAME, overwrite, command=command)
        return left_behind(self.tensors, target)
