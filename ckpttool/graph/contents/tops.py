"""Tops: the layer and tensor on which new layers are put.

If all layers of an output are kept, it is that output, after ops without weights (a pooling, an activation, a
concatenation of towers). A softmax or sigmoid belongs to the old output, and is not included.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.layers import Layer, activated, activation_behind, layers, scope_output
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PROBABILITIES
from ckpttool.graph.roles.compiled import compiled_objective
from ckpttool.graph.roles.logits import logits_below
from ckpttool.graph.roles.resolve import certain_roles


class Top(NamedTuple):
    """The layer on which new ones are put, the tensor that they read, and a description of the tensor."""

    layer: Layer
    tensor: str
    why: str


def top_of(graph: Graph, restored: Collection[str], after: str | None = None) -> Top:
    """Return where a head goes: on the layer named `after`, else on top of all layers with a restored variable.

    A layer without weights, such as a pooling, is specified by the scope of its ops. An activation that is applied
    outside of the layer's scope belongs to the layer.

    Raises:
        UnknownName: there is no such layer; the message names the nearest, or all.
        GraphError: the layer's output tensor is unknown.
        PlanError: several layers are parallel outputs; the message names them, and the op that joins them.
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


def joining(graph: Graph, restored: Collection[str]) -> str | None:
    """Return the layer or op that joins parallel outputs of restored layers; None if one layer is on top of all."""
    tops = _tops(graph, [layer for layer in layers(graph) if set(layer.variables) & set(restored)])
    return _join(graph, tops) if len(tops) > 1 else None


def class_layer(graph: Graph) -> Layer | None:
    """Return the layer that distinguishes the classes for which a graph is trained: the last one with weights.

    None if its outputs are not known to be classes, as for an encoder, or if it has more outputs than inputs: a head
    can learn as much from these as from the layer below.
    """
    logits = _logits_of_classes(graph)
    if logits is None:
        return None
    below = graph.ancestors(TensorRef.parse(logits).op)
    own = {variable.name: variable.op for variable in variables(graph).values()}
    needed = [each for each in layers(graph) if each.output and any(own.get(name) in below for name in each.variables)]
    # The layer's own output may be that of its softmax, above the logits.
    found = [each for each in needed if TensorRef.parse(str(each.output)).op not in below] or _tops(graph, needed)
    return found[0] if len(found) == 1 and _narrows(graph, found[0]) else None


def _logits_of_classes(graph: Graph) -> str | None:
    """Return the logits that a loss compares with labels, else those of the only output if it has classes, or None."""
    roles = certain_roles(graph)
    if roles.labels and roles.logits:
        return roles.logits
    outputs = list(dict.fromkeys(output_tensors(graph)))
    if len(outputs) != 1:
        return None
    last = logits_below(graph, outputs[0])
    compiled = compiled_objective(graph)
    told = class_names(graph) or (compiled and compiled.objective in ("softmax", "sigmoid"))
    return last.tensor if told or last.activation in ("Softmax", "LogSoftmax") else None


def _narrows(graph: Graph, layer: Layer) -> bool:
    held = stored_tensors(graph)
    shapes = [held[name].shape or () for name in layer.variables if name in held]
    kernel = max(shapes, key=len, default=())
    return len(kernel) > 1 and kernel[-1] <= kernel[-2]


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
    """Return the output of a Keras layer that contains layers (such as a Bidirectional) and is called once, or None."""
    network = keras_network(graph)
    calls = network.calls.items() if network else ()
    found = [tensor for tensor, row in calls if "/".join(each for each, _, _ in row) == name]
    return found[0] if len(found) == 1 else None


def _behind(graph: Graph, layer: Layer) -> Top:
    """Return the top of a layer: its output, or its activation if that is applied outside of its scope.

    Raises:
        GraphError: its output is unknown.
    """
    if layer.output is None:
        raise GraphError(
            f"{graph.source}: the output of the layer {layer.name} is unknown; `after` specifies another layer"
        )
    tensor, activation = activated(graph, layer.output, graph.nodes)
    if activation is None:
        tensor = activation_behind(graph, layer)
    tensor = layer.output if activation in PROBABILITIES else tensor
    if _makes_probabilities(graph, TensorRef.parse(tensor).op):
        return Top(layer, tensor, f"the probabilities of {layer.name}: `after` specifies a layer below them")
    return Top(layer, tensor, "" if tensor == layer.output else f"the activation of {layer.name}")


def _whole_output(graph: Graph, known: Sequence[Layer], chosen: Sequence[Layer]) -> str | None:
    """Return the only output of a graph's signatures if all layers below it are chosen, or None.

    None if it is not the output of a layer, but probabilities or class numbers.
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
    """Return the chosen layers on which no other chosen layer depends, in order."""
    below, tops = set[str](), list[Layer]()
    for layer in reversed(chosen):
        if layer.output is not None and (op := TensorRef.parse(layer.output).op) not in below:
            below |= graph.ancestors(op)
            tops.insert(0, layer)
    return tops


def _beside(graph: Graph, tops: Sequence[Layer]) -> str:
    """Return the message that layers are parallel outputs, with the values for `after`: one of them, or their join."""
    names = listed([layer.name for layer in tops])
    joined = _join(graph, tops)
    joins = f"; {joined} joins them" if joined else ""
    return f"{names} are parallel outputs{joins}: `after` specifies the one below the head"


def _join(graph: Graph, tops: Sequence[Layer]) -> str | None:
    """Return the first Keras layer, else the first op, that depends on all of some layers, or None."""
    reached = [graph.descendants([TensorRef.parse(str(layer.output)).op]) for layer in tops]
    common = set.intersection(*reached)
    network = keras_network(graph)
    for tensor, row in (network.calls if network else {}).items():
        if TensorRef.parse(tensor).op in common:
            return "/".join(name for name, _, _ in row)
    return next((name for name in graph.nodes if name in common and scope_output(graph, name)), None)
