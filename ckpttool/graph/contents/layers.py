"""Layers: the variables that share a scope, in the order in which data flows through them, and what they compute.

A layer's output is the last tensor that its scope computes before another layer takes over: `dnn/hidden1/Relu:0` for
the variables `hidden1/kernel` and `hidden1/bias`, which the ops of the scope `dnn/hidden1` use. What follows outside
of the scope belongs to no layer: where an activation has been applied at the root (`bn1_act = tf.nn.elu(bn1)`), the
output of `bn1` is what goes into it. Where a layer's ops share no scope of its name, its output is that of the op
that uses the last of its variables. A layer inside a loop ends after the loop.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from ckpttool.core.names import layer_of
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.graph.contents.flow import is_forward, ranks
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import (
    ACTIVATIONS,
    CALLS,
    CONVOLUTIONS,
    EXITS,
    JOINS,
    PICKS,
    SHAPED_LIKE,
    WEIGHT_PASSES,
)
from ckpttool.graph.roles.resolve import certain_roles

_LOOP = re.compile(r"while(_\d+)?")
_NUMBER = re.compile(r"(_\d+)?")


@dataclass(frozen=True)
class Layer:
    """A layer: `name` is the scope, `variables` their names in the checkpoint, `output` a tensor or None.

    `parameters` counts the elements of the variables whose shapes are known.
    """

    name: str
    variables: tuple[str, ...]
    parameters: int
    output: str | None


@dataclass(frozen=True)
class _Weight:
    """A variable, or the constant that freezing made of one: its layer, name, op, and how many elements it has."""

    layer: str
    name: str
    op: str
    elements: int


@cached
def layers(graph: Graph) -> Sequence[Layer]:
    """Return the layers in data-flow order; those that nothing computes with come last.

    A variable outside of any scope is a layer of its own. A frozen graph's layers come from the constants that stand
    for variables. Where functions hold the ops (TensorFlow 2), the outputs are None.
    """
    weights = [variable for variable in variables(graph).values() if variable.kind == "weight"]
    held = [
        _Weight(layer_of(each.own_name), each.name, each.op, 0 if each.shape is None else math.prod(each.shape))
        for each in weights
    ]
    return _LayerFlow(graph, held or _frozen_weights(graph)).layers()


def _frozen_weights(graph: Graph) -> list[_Weight]:
    """Return the constants of a frozen graph that were variables."""
    shapes = {
        name: (op, shape_of(graph.nodes[op].attr["value"].tensor)) for name, op in frozen_weights(graph.nodes).items()
    }
    return [_Weight(layer_of(name), name, op, math.prod(shape)) for name, (op, shape) in shapes.items()]


class _LayerFlow:
    """The flow of data through a graph's layers."""

    def __init__(self, graph: Graph, weights: list[_Weight]) -> None:
        self.graph = graph
        self.members: dict[str, list[_Weight]] = defaultdict(list)
        for weight in weights:
            self.members[weight.layer].append(weight)
        self.rank = ranks(graph)
        self.users = {weight.op: self._users(weight) for weight in weights}
        self.owners: dict[str, set[str]] = defaultdict(set)
        for name, members in self.members.items():
            for op in (op for weight in members for op in self.users[weight.op]):
                self.owners[op].add(name)
        self.scopes = {name: self._scope(name) for name in self.members}

    def layers(self) -> list[Layer]:
        ordered = []
        for name in sorted(self.members, key=self._first_rank):
            members, output = self.members[name], self._output(name)
            names = tuple(dict.fromkeys(weight.name for weight in members))
            parameters = sum(weight.elements for weight in members)
            ordered.append(Layer(name, names, parameters, None if output is None else str(output)))
        return ordered

    def _first_rank(self, name: str) -> tuple[float, float, int]:
        """Return what orders layers: their first use, their place among what a function takes, that in the graph.

        Functions take variables in the order in which they use them.
        """
        members = self.members[name]
        uses = [self.rank[op] for weight in members for op in self.users[weight.op]]
        taken = []
        for weight in members:
            calls = [self.graph.inputs(op) for op in self._readers(weight.op) if self.graph.nodes[op].op in CALLS]
            taken += [inputs.index(TensorRef(weight.op, 0)) for inputs in calls if TensorRef(weight.op, 0) in inputs]
        return min(uses, default=math.inf), min(taken, default=math.inf), self.rank[members[0].op]

    @cached_property
    def _needed(self) -> frozenset[str]:
        """The ops that the loss, the logits, the accuracy or a signature's outputs need."""
        return frozenset(self.graph.ancestors(*self._ends) if self._ends else ())

    @cached_property
    def _ends(self) -> set[str]:
        """The ops that computing is for."""
        roles = certain_roles(self.graph)
        tensors = [roles.loss, roles.logits, roles.accuracy, *output_tensors(self.graph)]
        return {TensorRef.parse(name).op for name in tensors if name is not None} & set(self.graph.nodes)

    def _readers(self, op: str) -> list[str]:
        """Return the forward ops that read an op's outputs: the needed ones where it is needed itself."""
        forward = [name for name in self.graph.consumers.get(op, []) if is_forward(self.graph, name)]
        return [name for name in forward if name in self._needed] if op in self._needed else forward

    def _users(self, weight: _Weight) -> list[str]:
        """Return the ops that compute with a weight's value, past reads, loop entries, switches and joined slices."""
        whole = re.sub(r"/part_\d+$", "", weight.op)
        readers: dict[str, None] = {}
        seen, todo = {weight.op}, [weight.op]
        while todo:
            for reader in self._readers(todo.pop()):
                op_type = self.graph.nodes[reader].op
                joins = op_type in JOINS and (reader == whole or reader.startswith(f"{whole}/"))
                if op_type not in WEIGHT_PASSES and not joins:
                    readers[reader] = None
                elif reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        computing = [op for op in readers if self.graph.nodes[op].op not in SHAPED_LIKE | CALLS]
        return sorted(computing, key=self.rank.__getitem__)

    def _scope(self, layer: str) -> str | None:
        """Return the name scope in which a layer's ops are: the part of the first one's name up to the layer's own.

        It ends before the first loop.
        """
        own = layer.rpartition("/")[2]
        ops = sorted((op for weight in self.members[layer] for op in self.users[weight.op]), key=self.rank.__getitem__)
        for name in (own, re.sub(r"_\d+$", "", own)):
            for parts in (op.split("/")[:-1] for op in ops):
                ends = [position for position, part in enumerate(parts) if _is_numbered(part, name)]
                if ends:
                    return "/".join(takewhile(lambda part: not _LOOP.fullmatch(part), parts[: ends[-1] + 1]))
        return None

    def _output(self, layer: str) -> TensorRef | None:
        """Find the last tensor that leaves what the layer computes: of an op's outputs the first that is read outside.

        Where another layer's scope is around this one's, that is meant: a convolution's, around its normalisation.
        """
        scope = self.scopes[layer]
        if scope is None:
            first = [self.users[weight.op][0] for weight in self.members[layer] if self.users[weight.op]]
            last = max(first, key=self.rank.__getitem__, default=None)
            return None if last is None or self._is_aside(last, looping=False) else TensorRef(last, 0)
        parts = scope.split("/")
        around = ("/".join(parts[:length]) for length in range(1, len(parts)))
        region = self._region(layer, next((other for other in around if other in self._known_scopes), scope))
        op = max((op for op in region if self._leaves(op, region)), key=self.rank.__getitem__, default=None)
        if op is None:
            return None
        outside = [reader for reader in self._readers(op) if reader not in region]
        read = [ref.index for reader in outside for ref in self.graph.inputs(reader) if ref.op == op]
        return TensorRef(op, min(read, default=0))

    def _region(self, layer: str, scope: str) -> set[str]:
        """Return the ops in a scope that compute on from the layer's variables, up to those that use other layers'."""
        starts = [op for weight in self.members[layer] for op in self.users[weight.op] if _is_in(op, scope)]
        looping = any(_in_loop(op) for op in starts)
        region, todo = set(starts), starts
        while todo:
            for reader in self._readers(todo.pop()):
                aside = not _is_in(reader, scope) or self._is_aside(reader, looping)
                if reader not in region and not aside and not self._is_foreign(reader, layer):
                    region.add(reader)
                    todo.append(reader)
        return region

    def _is_foreign(self, op: str, layer: str) -> bool:
        """Say whether an op computes with another layer's variables, or is in another's scope inside of this one's."""
        parts = op.split("/")
        scopes = ("/".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
        narrowest = next((scope for scope in scopes if scope in self._known_scopes), "")
        inside_other = bool(narrowest) and not _is_in(f"{self.scopes[layer]}/", narrowest)
        return inside_other or bool(self.owners.get(op, set()) - {layer})

    @cached_property
    def _known_scopes(self) -> frozenset[str | None]:
        return frozenset(self.scopes.values())

    def _is_aside(self, op: str, looping: bool) -> bool:
        """Say whether an op leads away from the layer: to mere shapes, or into a loop that it is no part of."""
        kind = self.graph.nodes[op].op
        return kind in SHAPED_LIKE or (not looping and (kind.startswith("TensorArray") or _in_loop(op)))

    def _leaves(self, op: str, region: set[str]) -> bool:
        """Say whether an op's value is read outside of the region, or by nothing; a loop's inside cannot be."""
        if _in_loop(op) and self.graph.nodes[op].op not in EXITS:
            return False
        return not region.issuperset(self._readers(op)) or op in self._ends or not self.graph.consumers.get(op)


def _is_numbered(part: str, name: str) -> bool:
    """Say whether a scope is named so, perhaps with the number that TensorFlow puts behind a name that was taken.

    >>> _is_numbered("dense_1", "dense"), _is_numbered("dense1", "dense")
    (True, False)
    """
    return part.startswith(name) and _NUMBER.fullmatch(part, len(name)) is not None


def _in_loop(op: str) -> bool:
    return any(_LOOP.fullmatch(part) for part in op.split("/")[:-1])


def _is_in(op: str, scope: str) -> bool:
    return op.startswith(f"{scope}/") or not scope


def activated(graph: Graph, tensor: str, needed: Collection[str]) -> tuple[str, str | None]:
    """Return the tensor of a layer's activation, and the type of its op; None where the layer has none that is known.

    The activation makes the tensor, or is the only one of the `needed` ops that reads it: a graph may apply it outside
    of the layer's scope.
    """
    ref = TensorRef.parse(tensor)
    kind = _made_by(graph, ref.op)
    if kind is not None:
        return tensor, kind
    readers = [name for name in graph.consumers.get(ref.op, []) if name in needed]
    after = [name for name in readers if graph.nodes[name].op in ACTIVATIONS - {"Softmax"}]
    return (f"{after[0]}:0", graph.nodes[after[0]].op) if len(after) == 1 else (tensor, None)


def _made_by(graph: Graph, op: str) -> str | None:
    seen: set[str] = set()
    while graph.nodes[op].op in PICKS and graph.nodes[op].input and op not in seen:
        seen.add(op)
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op if graph.nodes[op].op in ACTIVATIONS else None


def convolves(graph: Graph) -> bool:
    """Say whether a graph, or a function of it, has a convolution."""
    bodies = (function.node_def for function in graph.header.graph_def.library.function)
    return any(node.op in CONVOLUTIONS for nodes in (graph.nodes.values(), *bodies) for node in nodes)
