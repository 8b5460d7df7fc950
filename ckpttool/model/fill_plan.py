"""Filling: a checkpoint without a graph gets new values for its tensors; everything else stays the same.

This imports weights into an object checkpoint of TensorFlow 2, a Keras file or any other: the program that reads it
finds every tensor under its name, with its shape and dtype.
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
    """A weight of a checkpoint: whether it gets a new value or keeps its own; whether it is trained is unknown."""

    def cells(self) -> dict[str, Any]:
        """Return the row as displayed."""
        value = "kept" if self.source is None else f"restored from {self.source}"
        return {"layer": self.layer, "variable": self.target, "shape": self.shape, "value": value}


@dataclass(frozen=True, repr=False)
class FillPlan(ShownPlan):
    """The tensors of a checkpoint, those paired with new values, and a row for each of its weights."""

    tensors: Checkpoint
    rows: tuple[FillRow, ...]
    notes: Sequence[str]

    @classmethod
    def of(cls, pairing: Pairing, held: Checkpoint, notes: Sequence[str]) -> "FillPlan":
        """Plan to fill a checkpoint with the values paired with its tensors."""
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
        """A statement about the written output."""
        filled = sum(row.source is not None for row in self.rows)
        return f"written and read back, {filled} of {counted(len(self.rows), 'weight')} imported"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [row.as_json() for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it exists.
        """
        name = registry.for_output(Path(output), like=self.tensors.path).NAME
        index = Path(f"{str(output).removesuffix('.index')}.index")
        refuse_existing([index if name in ("object", "bundle") else Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write the checkpoint in its own format, unless the output has the suffix of another, and read it back.

        Return notes on what another format cannot store.

        Raises:
            ExistingOutput: the output exists.
            CkptError: a value cannot be read.
        """
        target = registry.for_output(Path(output), like=self.tensors.path)
        command = command or Command.of_call("import", self.tensors.path, output)
        checkpoint.save(self.tensors, output, target.NAME, overwrite, command=command)
        return left_behind(self.tensors, target)
