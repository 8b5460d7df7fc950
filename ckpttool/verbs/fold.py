"""Folding: a model in one frozen graph, its variables constants."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.names import listed
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.graph import files
from ckpttool.graph.contents.constants import MESSAGE_LIMIT, constant
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors, window
from ckpttool.graph.contents.variables import Variable
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.constant_copies import without_copies
from ckpttool.graph.rewrite.constant_variables import constant_variables
from ckpttool.graph.rewrite.defaults import pinned_to_defaults, switched_off
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.serving import serving_part
from ckpttool.graph.roles.served import Served, served
from ckpttool.lineage import recording
from ckpttool.model.model import Model
from ckpttool.verbs.rewriting import Rewriting, Size, require_fed, values_of


@dataclass(frozen=True)
class Folding(Rewriting):
    """The part of a model that its outputs need, with constants that get the values of variables when it is written."""

    stored: Mapping[str, StoredTensor]

    @property
    def done(self) -> str:
        """What will have been done."""
        return f"{len(self.stored)} variables are constants"

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        refuse_existing([Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False) -> None:
        """Write the GraphDef, whole or not at all, and read it back.

        Raises:
            ExistingOutput: the output is there already.
            CorruptCheckpoint: what was read back is not what was meant.
        """
        self.check(output, overwrite)
        whole = GraphDef(versions=self.graph.header.graph_def.versions, library=self.graph.header.graph_def.library)
        whole.node.extend(self._nodes())
        with replacing(Path(output)) as file:
            file.write(whole.SerializeToString(deterministic=True))
        recording.carry_graph(Path(output))
        if files.load(output).meta.graph_def != whole:
            raise CorruptCheckpoint(f"{output}: what was read back is not what was written")

    def _nodes(self) -> Iterator[NodeDef]:
        """Yield the nodes, the constants that were variables with their values."""
        members = {member.op: (stored, member) for stored in self.stored.values() for member in stored.members}
        for name, node in self.graph.nodes.items():
            yield self._constant(*members[name]) if name in members else node

    def _constant(self, stored: StoredTensor, member: Variable) -> NodeDef:
        return constant(member.op, self.values[stored.name].read()[window(member)], member.dtype)


def plan_fold(model: Model, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Folding:
    """Plan what `fold` writes; no value is read before the plan's `write`. No TensorFlow is needed.

    `served` says what inputs and outputs are where they are not given. Placeholders that are no inputs have their
    defaults for good; a training switch without a default is off.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs, or a variable is not only read.
        PlanError: a placeholder is not fed, the checkpoint lacks a variable, or the graph would exceed what a protobuf
            message holds.
    """
    part, found = serving_part(model.graph, served(model.graph, inputs, outputs))
    require_fed(part, found)
    wanted = [*found.outputs.values(), *found.inputs.values(), *_tables(part)]
    untrained = pinned_to_defaults(switched_off(part, found.fed), found.fed)
    bare = to_resource(importable(subgraph(untrained, wanted)))
    members = [member.op for tensor in stored_tensors(bare).values() for member in tensor.members]
    fixed = {TensorRef.parse(name).op for name in wanted}
    graph = subgraph(without_copies(constant_variables(bare), fixed, members), wanted)
    values = values_of(model, bare)
    nbytes = graph.meta.graph_def.ByteSize() + sum(tensor.nbytes for tensor in values.values())
    if nbytes > MESSAGE_LIMIT:
        raise PlanError(
            f"{model.path}: the frozen graph would be {nbytes} bytes, and a protobuf message holds at most "
            f"{MESSAGE_LIMIT}; export-saved-model keeps the variables in files of their own"
        )
    size = Size(len(graph.nodes), nbytes, 0, 0)
    return Folding(model, graph, values, found, size, _remarks(part, found), stored_tensors(bare))


def _tables(graph: Graph) -> list[str]:
    return [name for name in graph.collection("table_initializer") if name in graph.nodes]


def _remarks(part: Graph, found: Served) -> tuple[str, ...]:
    """Say what was decided for good, and what is left to do."""
    pinned = [name for name, node in part.nodes.items() if node.op in PLACEHOLDERS and name not in found.fed]
    remarks = [f"not fed any more, as if it never was: {listed(pinned)}"] if pinned else []
    return (*remarks, *(f"to be run before the first use: {name}" for name in _tables(part)))
