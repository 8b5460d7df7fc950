"""Copies of constants, computed once: `Identity` of a constant, and `Reshape` of one to a constant shape."""

import math
from collections.abc import Collection, Iterator

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, TensorShapeProto
from ckpttool.graph.contents.constants import numbers, shape_of
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.editing import Draft, control_inputs


def without_copies(graph: Graph, wanted: Collection[str], unknown: Collection[str] = ()) -> Graph:
    """Return the graph whose ops read constants straight, and in the shape in which they want them.

    The copies that are read no more are still there, for `subgraph` to leave out. Ops that are `wanted` keep their
    names; those in a conditional or loop, which wait for its pivot, stay; so do reshaped constants (ops) whose values
    are `unknown` yet.
    """
    reshaped = graph.having(_reshaped(graph, unknown))
    sources = {name: _source(reshaped, name) for name in reshaped.nodes if name not in wanted}
    straight = {name: source for name, source in sources.items() if source is not None and source != name}
    places = {
        TensorRef(name, index): TensorRef(source, index) for name, source in straight.items() for index in (0, -1)
    }
    draft = Draft(reshaped)
    draft.redirect(places)
    return draft.sealed()


def _reshaped(graph: Graph, unknown: Collection[str]) -> Iterator[NodeDef]:
    """Yield the nodes with constants in the place of constants that are reshaped."""
    for name, node in graph.nodes.items():
        source = _source(graph, graph.inputs(name)[0].op) if node.op == "Reshape" else None
        shape = _shape(graph, name, source) if source is not None and source not in unknown else None
        if source is None or shape is None:
            yield node
        else:
            constant = NodeDef(name=name, op="Const")
            for key, value in graph.nodes[source].attr.items():
                constant.attr[key].CopyFrom(value)
            constant.attr["value"].tensor.tensor_shape.CopyFrom(shape)
            constant.attr.pop("_output_shapes", None)
            yield constant


def _source(graph: Graph, name: str) -> str | None:
    """Return the constant that an op is, or gives unchanged; None where it gives something else, or waits."""
    while graph.nodes[name].op == "Identity" and not control_inputs(graph.nodes[name]):
        name = graph.inputs(name)[0].op
    node = graph.nodes[name]
    return name if node.op == "Const" and not control_inputs(node) else None


def _shape(graph: Graph, name: str, source: str) -> TensorShapeProto | None:
    """Return the shape that a Reshape gives a constant, None where that is computed or does not fit."""
    wanted = _source(graph, graph.inputs(name)[1].op)
    sizes = numbers(graph.nodes[wanted]) if wanted is not None else None
    if sizes is None or control_inputs(graph.nodes[name]):
        return None
    count = math.prod(shape_of(graph.nodes[source].attr["value"].tensor))
    known = math.prod(int(size) for size in sizes if size >= 0)
    whole = [int(size) if size >= 0 else count // max(known, 1) for size in sizes]
    fits = math.prod(whole) == count and sum(size < 0 for size in sizes) <= 1
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in whole]) if fits else None
