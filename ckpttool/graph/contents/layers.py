"""Layers: the variables that share a scope, in data-flow order, and their output tensors.

A layer's output is the last tensor that it computes before the next layer: `dnn/hidden1/Relu:0` for the variables
`hidden1/kernel` and `hidden1/bias`. It is found by data flow, from the ops that read the variables and those that
follow (see `layer_ends`). If the ops are in a scope of the layer's name, later ops outside of it belong to no layer: if
an activation is applied at the root (`bn1_act = tf.nn.elu(bn1)`), the output of `bn1` is the activation's input.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ckpttool.core.names import layer_of
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.graph.contents.layer_ends import LayerEnds
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.contents.weight_uses import Weight, WeightUses
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ACTIVATIONS, CONVOLUTIONS, PICKS, SHAPES


@dataclass(frozen=True)
class Layer:
    """A layer: `name` is the scope, `variables` has their names in the checkpoint, `output` is a tensor or None.

    `parameters` counts the elements of the variables whose shapes are known.
    """

    name: str
    variables: tuple[str, ...]
    parameters: int
    output: str | None


@cached
def layers(graph: Graph) -> Sequence[Layer]:
    """Return the layers in data-flow order; those whose variables no op computes with come last.

    A variable outside of any scope is a layer by itself. The layers of a frozen graph are found from the constants that
    were variables.
    """
    uses = weight_uses(graph)
    ends = LayerEnds(uses)
    found = []
    for name in sorted(uses.members, key=lambda name: _place(uses, name)):
        members, output = uses.members[name], ends.output(name)
        names = tuple(dict.fromkeys(weight.name for weight in members))
        parameters = sum(weight.elements for weight in members)
        found.append(Layer(name, names, parameters, None if output is None else str(output)))
    return found


def weight_uses(graph: Graph) -> WeightUses:
    """Return how the ops of a graph use its weights; in a frozen graph, the constants that were variables."""
    return WeightUses(graph, _weights(graph) or _frozen_weights(graph))


def _weights(graph: Graph) -> list[Weight]:
    held = [variable for variable in variables(graph).values() if variable.kind == "weight"]
    return [
        Weight(layer_of(each.own_name), each.name, each.op, 0 if each.shape is None else math.prod(each.shape))
        for each in held
    ]


def _frozen_weights(graph: Graph) -> list[Weight]:
    """Return the constants of a frozen graph that were variables."""
    found = frozen_weights(graph.nodes, graph.header.graph_def.library.function)
    shapes = {name: (op, shape_of(graph.nodes[op].attr["value"].tensor)) for name, op in found.items()}
    return [Weight(layer_of(name), name, op, math.prod(shape)) for name, (op, shape) in shapes.items()]


def _place(uses: WeightUses, layer: str) -> tuple[float, float, int]:
    """Return the sort key of a layer: its first use, its position among the arguments of calls, that in the graph.

    Functions have variables as arguments in the order in which they use them.
    """
    members = [weight.op for weight in uses.members[layer]]
    used = [uses.rank[op] for weight in members for op in uses.users[weight]]
    return min(used, default=math.inf), min(uses.places_in_calls(members), default=math.inf), uses.rank[members[0]]


def activated(graph: Graph, tensor: str, needed: Collection[str]) -> tuple[str, str | None]:
    """Return the tensor of a layer's activation, and its op type; `tensor` and None without a known activation.

    The activation is the op that makes the tensor, or the only one of the `needed` ops that reads it, since a graph may
    apply it outside of the layer's scope.
    """
    ref = TensorRef.parse(tensor)
    kind = _made_by(graph, ref.op)
    if kind is not None:
        return tensor, kind
    readers = [name for name in graph.consumers.get(ref.op, []) if name in needed]
    after = [name for name in readers if graph.nodes[name].op in ACTIVATIONS - {"Softmax"}]
    return (f"{after[0]}:0", graph.nodes[after[0]].op) if len(after) == 1 else (tensor, None)


def activation_behind(graph: Graph, layer: Layer) -> str:
    """Return the tensor of an activation of several ops (`x * sigmoid(x)`) after a layer, else the layer's output."""
    output = TensorRef.parse(str(layer.output))
    if not graph.consumers.get(output.op):
        return str(output)
    end = LayerEnds(weight_uses(graph)).tails.end(layer.name, [output.op])
    return str(output if end.op == output.op else end)


def scope_output(graph: Graph, scope: str) -> str | None:
    """Return the only tensor that leaves a scope, or an op; None if there is none, or more than one."""
    inside = [name for name in graph.nodes if name == scope or name.startswith(f"{scope}/")]
    own, read = set(inside), {ref for name in inside for ref in graph.inputs(name)}
    leaving = [
        ref
        for ref, readers in graph.readers.items()
        if ref.op in own and any(reader not in own and graph.nodes[reader].op not in SHAPES for reader in readers)
    ]
    ends = leaving or [TensorRef(name, 0) for name in inside if TensorRef(name, 0) not in read]
    return str(ends[0]) if len(ends) == 1 else None


def _made_by(graph: Graph, op: str) -> str | None:
    seen: set[str] = set()
    while graph.nodes[op].op in PICKS and graph.nodes[op].input and op not in seen:
        seen.add(op)
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op if graph.nodes[op].op in ACTIVATIONS else None


def convolves(graph: Graph) -> bool:
    """Return whether a graph, or a function in it, contains a convolution."""
    bodies = (function.node_def for function in graph.header.graph_def.library.function)
    return any(node.op in CONVOLUTIONS for nodes in (graph.nodes.values(), *bodies) for node in nodes)
