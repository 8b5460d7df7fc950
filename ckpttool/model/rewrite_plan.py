"""The plan of a rewritten model: another graph with the values of its variables, and the sizes before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import Tensor
from ckpttool.graph.contents.savers import computed_variables
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.served import Served
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.model import Model


@dataclass(frozen=True)
class Size:
    """The size of a model: ops, bytes of its graph, variables, bytes of their values."""

    ops: int
    graph_bytes: int
    variables: int
    variable_bytes: int

    @classmethod
    def of(cls, graph: Graph, values: Mapping[str, Tensor]) -> "Size":
        """Return the size of a graph and the values of its variables."""
        nbytes = sum(tensor.nbytes for tensor in values.values())
        return cls(len(graph.nodes), graph.meta.ByteSize(), len(values), nbytes)


@dataclass(frozen=True, repr=False)
class RewritePlan(ShownPlan):
    """A rewritten model to be written; plans with other outputs override `check` and `write`.

    `keys` has the name in the model's checkpoint of each tensor of the output; `served` are the inputs and outputs for
    which the graph is run (None: any), `remarks` are further notes, `to` is the family to write (`families.family_of`).
    """

    model: Model
    graph: Graph
    keys: Mapping[str, str]
    served: Served | None = None
    remarks: tuple[str, ...] = ()
    to: str | None = None

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """The tensors of the output, which are read when they are written."""
        return {name: self.model.checkpoint[key].renamed(name) for name, key in self.keys.items()}

    @property
    def before(self) -> Size:
        """The size of the source model."""
        return Size.of(self.model.graph, self.model.checkpoint)

    @property
    def after(self) -> Size:
        """The size of the output."""
        return Size.of(self.graph, self.values)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The sizes before and after, a row for each measure."""
        before, after = vars(self.before), vars(self.after)
        return [{"what": key.replace("_", " "), "before": before[key], "after": after[key]} for key in before]

    @property
    def notes(self) -> Sequence[str]:
        """The inputs and outputs, the tensors of the checkpoint that are skipped, and the remarks."""
        notes: list[str] = []
        if self.served is not None:
            sides = (self.served.inputs, self.served.outputs)
            inputs, outputs = (listed([f"{key}={tensor}" for key, tensor in side.items()]) for side in sides)
            notes += [f"inputs: {inputs or 'none'}", f"outputs: {outputs}, {self.served.why}"]
        used = set(self.keys.values())
        notes += notes_about(
            "removed from the checkpoint", (name for name in self.model.checkpoint if name not in used)
        )
        return (*notes, *self.remarks)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        sides = {"inputs": dict(self.served.inputs), "outputs": dict(self.served.outputs)} if self.served else {}
        return sides | {"before": vars(self.before), "after": vars(self.after), "notes": list(self.remarks)}

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it exists.
        """
        writer_for(self.graph.source, output, self.to).check(Path(output), overwrite, self.graph)

    def write(
        self, output: str | Path, overwrite: bool = False, command: Command | None = None
    ) -> Sequence[str] | None:
        """Write the graph and the values of its variables, and read both back; return notes.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        contents = Contents(self.graph, self.values, self.model.provenance, command)
        return writer_for(self.graph.source, output, self.to).write(contents, Path(output), overwrite).notes


def keys_of(model: Model, graph: Graph) -> dict[str, str]:
    """Return, for each tensor in the checkpoint of a rewritten graph, its name in the source model's checkpoint.

    Raises:
        PlanError: a tensor has no value.
    """
    held = {variable.op: variable.name for variable in variables(model.graph).values()}
    keys = {}
    for name, stored in stored_tensors(graph).items():
        keys[name] = held.get(stored.members[0].op, name)
        if keys[name] not in model.checkpoint:
            raise PlanError(f"{model.path}: {no_value(model.graph, stored)}")
    return keys


def no_value(graph: Graph, stored: StoredTensor) -> str:
    """Return the error for a variable without a value in a checkpoint, with the names that it would be read from."""
    parts = computed_variables(graph).get(stored.members[0].op)
    if parts:
        return f"no value for {stored.name}: the graph's Saver computes {stored.own_name} of {listed(parts)}"
    called = "" if stored.own_name == stored.name else f", from which the graph's Saver restores {stored.own_name}"
    return f"no value for {stored.name}{called}"
