"""Serving: the part of a graph that computes outputs from inputs, and nothing of what trained it."""

from collections.abc import Sequence

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.op_outputs import dtype_of_output, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.editing import Draft, type_attr
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.roles.served import Served


def serving_part(graph: Graph, found: Served) -> tuple[Graph, Served]:
    """Return what outputs need from inputs, with the variables' initialisers, and the inputs and outputs there.

    An input that was no placeholder becomes one, and what computed it goes: `dnn/hidden1/Relu:0` keeps its name,
    another output of an op gets one of its own.

    Raises:
        GraphError: the outputs do not need such an input.
    """
    refs = [TensorRef.parse(text) for text in found.inputs.values()]
    cut = [ref for ref in refs if graph.nodes[ref.op].op not in PLACEHOLDERS]
    kept = [str(ref) for ref in refs if ref not in cut]
    part = subgraph(graph, [*found.outputs.values(), *kept], [str(ref) for ref in cut], initializers=True)
    read = {ref for name in part.nodes for ref in part.inputs(name)}
    for ref in cut:
        if ref not in read:
            raise GraphError(f"{graph.source}: `inputs` {ref}: the outputs do not need it")
    return _with_placeholders(graph, part, cut, found)


def _with_placeholders(graph: Graph, part: Graph, cut: Sequence[TensorRef], found: Served) -> tuple[Graph, Served]:
    """Put a placeholder in the place of each tensor that is read and no longer made."""
    names, made = FreeNames(part.nodes), dict[TensorRef, NodeDef]()
    for ref in cut:
        made[ref] = _placeholder(graph, ref, names.free(ref.op if ref.index == 0 else f"{ref.op}_{ref.index}"))
    places = {ref: TensorRef(node.name, 0) for ref, node in made.items()}
    draft = Draft(part)
    draft.redirect(places)
    draft.nodes = {node.name: node for node in made.values()} | draft.nodes
    renamed = {str(ref): str(place) for ref, place in places.items()}
    inputs = {key: renamed.get(tensor, tensor) for key, tensor in found.inputs.items()}
    return draft.sealed(), Served(inputs, found.outputs, found.why)


def _placeholder(graph: Graph, ref: TensorRef, name: str) -> NodeDef:
    node = NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].CopyFrom(type_attr(dtype_of_output(graph, ref).number))
    node.attr["shape"].shape.CopyFrom(shape_of_output(graph, ref))
    return node
