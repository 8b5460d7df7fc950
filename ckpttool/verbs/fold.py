"""Fold: a model as one frozen graph, with constants in place of variables."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.names import listed
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.tensor_proto import MESSAGE_LIMIT
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.graph import files
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.kept import kept_facts
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors, window
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.constant_variables import constant_variables
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.flatten import flattened
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.serving import pinned_to_defaults, serving_part, switched_off
from ckpttool.graph.rewrite.signing import require_fed
from ckpttool.graph.rewrite.simplify import without_copies
from ckpttool.lineage.carrying import carry_graph
from ckpttool.lineage.provenance import Command
from ckpttool.model.model import Model
from ckpttool.model.rewrite_plan import RewritePlan, Size, keys_of


@dataclass(frozen=True, repr=False)
class FoldPlan(RewritePlan):
    """The part of a model that its outputs need, with constants that get the variables' values on writing."""

    stored: Mapping[str, StoredTensor] = field(default_factory=dict)

    @property
    def after(self) -> Size:
        """The size of the output: a graph without variables."""
        return Size(len(self.graph.nodes), self.nbytes, 0, 0)

    @property
    def nbytes(self) -> int:
        """The bytes of the graph including the values."""
        return self.graph.meta.graph_def.ByteSize() + sum(tensor.nbytes for tensor in self.values.values())

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return (
            f"written and read back, {counted(len(self.stored), 'variable is a constant', 'variables are constants')}"
        )

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written.

        Raises:
            ExistingOutput: it exists.
        """
        refuse_existing([Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the GraphDef atomically, and read it back.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        command = command or Command.of_call("fold", self.model.path, output)
        self.check(output, overwrite)
        whole = GraphDef(versions=self.graph.header.graph_def.versions, library=self.graph.header.graph_def.library)
        members = {member.op: (stored, member) for stored in self.stored.values() for member in stored.members}
        for name, node in self.graph.nodes.items():
            if name in members:
                stored, member = members[name]
                whole.node.append(constant(name, self.values[stored.name].read()[window(member)], member.dtype))
            else:
                whole.node.append(node)
        with files.staged_graph(Path(output), overwrite) as place:
            files.write(whole, place)
            carry_graph(self.model.provenance, command, place)
            if files.load(place).meta.graph_def != whole:
                raise CorruptCheckpoint(f"{output}: the graph reads back differently than it was written")


def plan_fold(
    model: Model, inputs: Sequence[str] = (), outputs: Sequence[str] = (), signature: str | None = None
) -> FoldPlan:
    """Plan what `fold` writes; no value is read before the plan's `write`. No TensorFlow is needed.

    Inputs or outputs that are not specified are determined by `graph.roles.served`. Placeholders that are not inputs
    get their defaults; a training-mode placeholder without a default is False.

    Args:
        model: The model to rewrite.
        inputs: The tensors to feed, also as NAME=TENSOR; others than placeholders become placeholders.
        outputs: The tensors to compute, also as NAME=TENSOR.
        signature: The signature for unspecified inputs and outputs, if not the default.

    Raises:
        UnknownName: a signature, an input or an output does not exist in the graph.
        GraphError: the outputs are ambiguous, or a variable is not only read.
        PlanError: a placeholder is not fed, a variable is missing, or the graph would exceed the maximum of a protobuf
            message.
    """
    model = model.called(signature)
    found = serving_part(model.graph, inputs, outputs)
    part, serving = found.part, found.served
    require_fed(part, serving)
    tables = [name for name in part.collection("table_initializer") if name in part.nodes]
    wanted = [*serving.outputs.values(), *serving.inputs.values(), *tables]
    untrained = flattened(pinned_to_defaults(switched_off(part, serving.fed), serving.fed))
    bare = to_resource(importable(subgraph(untrained, wanted)))
    members = [member.op for tensor in stored_tensors(bare).values() for member in tensor.members]
    fixed = {TensorRef.parse(name).op for name in wanted}
    graph = _frozen(bare, members, fixed, wanted)
    pinned = [name for name, node in part.nodes.items() if node.op in PLACEHOLDERS and name not in serving.fed]
    remarks = (
        *found.notes,
        *([f"not fed any more, as if it never was: {listed(pinned)}"] if pinned else []),
        *(f"to be run before the first use: {name}" for name in tables),
        *(f"a GraphDef does not keep {fact}" for fact in kept_facts(model.graph)),
    )
    plan = FoldPlan(model, graph, keys_of(model, bare), serving, remarks, stored=stored_tensors(bare))
    if plan.nbytes > MESSAGE_LIMIT:
        raise PlanError(
            f"{model.path}: the frozen graph would be {plan.nbytes} bytes, and a protobuf message has at most "
            f"{MESSAGE_LIMIT}; export-saved-model keeps the variables in files of their own"
        )
    return plan


def _frozen(graph: Graph, variables: Sequence[str], fixed: Collection[str], wanted: Sequence[str]) -> Graph:
    """Return a graph with constants in place of its variables, read directly.

    One that `frozen_weights` would not recognise is read through `NAME/read`, as TensorFlow freezes variables:
    the centre of a normalisation looks like any constant.
    """
    bare = subgraph(without_copies(constant_variables(graph), fixed, variables), wanted)
    known, draft, names = set(frozen_weights(bare.nodes).values()), Draft(bare), FreeNames(bare.nodes)
    reads = {name: names.free(f"{name}/read") for name in variables if name in bare.nodes and name not in known}
    draft.redirect({TensorRef(name, 0): TensorRef(read, 0) for name, read in reads.items()})
    for name, read in reads.items():
        identity = NodeDef(name=read, op="Identity", input=[name])
        identity.attr["T"].CopyFrom(bare.nodes[name].attr["dtype"])
        draft.add(identity)
    return draft.sealed()
