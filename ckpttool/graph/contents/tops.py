"""Tops: where new layers go on above layers that are kept, and which tensor that is.

Where all layers are kept that an output is computed with, it is that output, behind what has no weights: a pooling, an
activation, a concatenation of towers. What makes probabilities belongs to the old output, and stays out.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.names import listed, suggestion
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.layers import Layer, activated, activation_behind, layers, scope_output
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PROBABILITIES


class Top(NamedTuple):
    """The layer that new ones are put on, the tensor that they read, and what that is, for people."""

    layer: Layer
    tensor: str
    why: str


def top_of(graph: Graph, restored: Collection[str], after: str | None = None) -> Top:
    """Return where a head goes: on the layer named `after`, else above all layers with a restored variable.

    A layer without weights, such as a pooling, is named by the scope of its ops. An activation that is applied outside
    of the layer's scope belongs to it.

    Raises:
        UnknownName: there is no such layer; the message names the nearest, or all.
        GraphError: its output tensor is not known.
        PlanError: several layers end side by side; the message names them, and what joins them.
    """
    known = layers(graph)
    chosen = [layer for layer in known if set(layer.variables) & set(restored)]
    if after or not chosen:
        return _named(graph, known, after or "")
    whole = _whole_output(graph, known, chosen)
    if whole is not None:
        return Top(chosen[-1], whole, "what the model gives")
    tops = _tops(graph, chosen)
    if len(tops) > 1:
        raise PlanError(f"{graph.source}: {_beside(graph, tops)}")
    return _behind(graph, tops[0] if tops else chosen[-1])


def _named(graph: Graph, known: Sequence[Layer], after: str) -> Top:
    found = [layer for layer in known if layer.name == after]
    if found:
        return _behind(graph, found[-1])
    if output := scope_output(graph, after) or _given_by(graph, after):
        return Top(Layer(after, (), 0, output), output, "")
    names = [layer.name for layer in known]
    nearest = suggestion(after, names) or f"; layers: {', '.join(names)}"
    raise UnknownName(f"{graph.source}: no layer {after}{nearest}")


def _given_by(graph: Graph, name: str) -> str | None:
    """Return what a layer of Keras gives that is called once and has layers of its own, as a Bidirectional has."""
    network = keras_network(graph)
    calls = network.calls.items() if network else ()
    found = [tensor for tensor, row in calls if "/".join(each for each, _, _ in row) == name]
    return found[0] if len(found) == 1 else None


def _behind(graph: Graph, layer: Layer) -> Top:
    """Return the top of a layer: its output, or its activation where that is applied outside of its scope.

    Raises:
        GraphError: its output is not known.
    """
    if layer.output is None:
        raise GraphError(f"{graph.source}: the output of the layer {layer.name} is not known; `after` names another")
    tensor, activation = activated(graph, layer.output, graph.nodes)
    if activation is None:
        tensor = activation_behind(graph, layer)
    tensor = layer.output if activation in PROBABILITIES else tensor
    if _makes_probabilities(graph, TensorRef.parse(tensor).op):
        return Top(layer, tensor, f"the probabilities of {layer.name}: `after` names what lies below them")
    return Top(layer, tensor, "" if tensor == layer.output else f"the activation of {layer.name}")


def _whole_output(graph: Graph, known: Sequence[Layer], chosen: Sequence[Layer]) -> str | None:
    """Return the only output of a graph that says which that is, where all layers below it are chosen.

    None where it is another kind of value than layers give: probabilities, or class numbers.
    """
    outputs = list(dict.fromkeys(output_tensors(graph)))
    if len(outputs) != 1:
        return None
    ref = TensorRef.parse(outputs[0])
    below = graph.ancestors(ref.op)
    needed = {layer.name for layer in known if layer.output and TensorRef.parse(layer.output).op in below}
    is_kept = needed and needed <= {layer.name for layer in chosen}
    if not is_kept or "float" not in dtype_of_output(graph, ref).name or _makes_probabilities(graph, ref.op):
        return None
    return outputs[0]


def _makes_probabilities(graph: Graph, op: str) -> bool:
    while graph.nodes[op].op in ("Identity", "Reshape", "Cast"):
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op in PROBABILITIES


def _tops(graph: Graph, chosen: Sequence[Layer]) -> list[Layer]:
    """Return the layers that no other of the chosen ones computes with, in their order."""
    below, tops = set[str](), list[Layer]()
    for layer in reversed(chosen):
        if layer.output is not None and (op := TensorRef.parse(layer.output).op) not in below:
            below |= graph.ancestors(op)
            tops.insert(0, layer)
    return tops


def _beside(graph: Graph, tops: Sequence[Layer]) -> str:
    """Say that layers end side by side, and what `after` could name: one of them, or what joins them."""
    names = listed([layer.name for layer in tops])
    joined = _join(graph, tops)
    joins = f"; {joined} joins them" if joined else ""
    return f"{names} end side by side{joins}: `after` specifies which of them the head goes on"


def _join(graph: Graph, tops: Sequence[Layer]) -> str | None:
    """Return the first layer of Keras, else the first op, that is computed with all of some layers."""
    reached = [graph.descendants([TensorRef.parse(str(layer.output)).op]) for layer in tops]
    common = set.intersection(*reached)
    network = keras_network(graph)
    for tensor, row in (network.calls if network else {}).items():
        if TensorRef.parse(tensor).op in common:
            return "/".join(name for name, _, _ in row)
    return next((name for name in graph.nodes if name in common and scope_output(graph, name)), None)
