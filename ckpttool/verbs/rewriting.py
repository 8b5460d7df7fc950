"""What the verbs that rewrite graphs have in common: how large the graph was and becomes, and its variables' values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.tensors import Tensor
from ckpttool.graph.contents.savers import entries, saver_ops
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.roles.modes import mode_placeholders
from ckpttool.graph.roles.served import Served
from ckpttool.model.model import Model, WritesModel, write_model
from ckpttool.training.feeds import feeder


@dataclass(frozen=True)
class Size:
    """How much a model holds: ops, bytes of its graph, variables, bytes of their values."""

    ops: int
    graph_bytes: int
    variables: int
    variable_bytes: int

    @classmethod
    def of(cls, graph: Graph, values: Mapping[str, Tensor]) -> "Size":
        """Measure a graph and the values of its variables."""
        nbytes = sum(tensor.nbytes for tensor in values.values())
        return cls(len(graph.nodes), graph.meta.ByteSize(), len(values), nbytes)


@dataclass(frozen=True)
class Rewriting:
    """What a verb will write: the graph, the values that go with it, what it is run for (None: for anything)."""

    model: Model
    graph: Graph
    values: Mapping[str, Tensor]
    served: Served | None
    size: Size
    remarks: tuple[str, ...]

    @property
    def before(self) -> Size:
        """What the model holds that is rewritten."""
        return Size.of(self.model.graph, self.model.checkpoint)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return a row to each measure, before and after."""
        before, after = vars(self.before), vars(self.size)
        return [{"what": key.replace("_", " "), "before": before[key], "after": after[key]} for key in before]

    @property
    def notes(self) -> Sequence[str]:
        """What is fed and asked for, and what a user should know besides."""
        if self.served is None:
            return self.remarks
        inputs, outputs = (_side(side) for side in (self.served.inputs, self.served.outputs))
        return (f"inputs: {inputs or 'none'}", f"outputs: {outputs}, {self.served.why}", *self.remarks)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as `--json` prints it."""
        sides = {"inputs": dict(self.served.inputs), "outputs": dict(self.served.outputs)} if self.served else {}
        return sides | {"before": vars(self.before), "after": vars(self.size), "notes": list(self.remarks)}


class RewritesModel(Rewriting, WritesModel):
    """A rewriting whose output is a model: the graph with a checkpoint of its variables."""

    def write(self, output: str | Path, overwrite: bool = False) -> None:
        """Write the graph and the values of its variables, and read both back.

        Raises:
            ExistingOutput: the output is there already.
            CorruptCheckpoint: what was read back is not what was meant.
        """
        write_model(self.graph, self.values, output, overwrite)


def _side(named: Mapping[str, str]) -> str:
    return listed([f"{key}={tensor}" for key, tensor in named.items()])


def values_of(model: Model, graph: Graph) -> dict[str, Tensor]:
    """Return the value of each tensor that a graph's checkpoint holds, from the checkpoint of the model it is made of.

    Savers may keep a variable under another name than its own (a moving average in the place of what it is of).

    Raises:
        PlanError: one has none.
    """
    keys = _saved_keys(model)
    found = {name: _key(stored, model, keys) for name, stored in stored_tensors(graph).items()}
    missing = [name for name, key in found.items() if key is None]
    if missing:
        raise PlanError(f"{model.path}: no value for {listed(missing)}")
    return {name: model.checkpoint[key].renamed(name) for name, key in found.items() if key is not None}


def _saved_keys(model: Model) -> dict[str, str]:
    """Return under which name of the checkpoint a saver keeps the variable of an op."""
    graph = model.graph
    found = (entry for name in saver_ops(graph) for entry in entries(graph, name))
    return {entry.variable: entry.key for entry in found if entry.variable and entry.key in model.checkpoint}


def _key(stored: StoredTensor, model: Model, keys: Mapping[str, str]) -> str | None:
    if stored.name in model.checkpoint:
        return stored.name
    return keys.get(stored.members[0].op)


def require_fed(graph: Graph, served: Served) -> None:
    """Check that every placeholder of a part is fed, has a default, or is a training switch, which is off then.

    Raises:
        PlanError: one is not, or rows come from a queue or an iterator; the message names it and the option that helps.
    """
    source = feeder(graph, served.outputs.values())
    if source is not None:
        raise PlanError(f"{graph.source}: {source} brings the rows; say --inputs {source}:0 (or :1, ...)")
    bare = PLACEHOLDERS - {"PlaceholderWithDefault"}
    found = served.fed.union(mode_placeholders(graph))
    unfed = [name for name, node in graph.nodes.items() if node.op in bare and name not in found]
    if unfed:
        raise PlanError(
            f"{graph.source}: the outputs need {listed(unfed)}, which no input feeds and no default; "
            f"say --inputs with all that is fed, or other --outputs"
        )
