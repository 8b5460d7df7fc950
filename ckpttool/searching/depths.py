"""Depths: places where a network can be cut, so that a new head can be added above the layers below.

A depth is a place at which all data that the network still uses passes through one tensor. Between two such places lies
a layer with its normalisation and activation, or a block whose branches join only at its end: a head inside
a residual block would not see the skip connection. The layer that computes the logits is the old head, not a depth.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.core.errors import GraphError
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.layers import activated, layers, weight_uses
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ELEMENT_BY_ELEMENT, MERGES, SWITCHES
from ckpttool.graph.roles.logits import logits_below
from ckpttool.graph.roles.resolve import compared_logits
from ckpttool.graph.roles.served import result_of

_ADJUSTING = (ELEMENT_BY_ELEMENT | SWITCHES | MERGES) | {
    *("BiasAdd", "BiasAddV1", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
}
"""Ops by which weights of a normalisation, a bias or an activation are applied to the data: element-wise."""
_STEPS = {"TensorListFromTensor": 0, "TensorArrayScatterV3": 2, "Unpack": 0}
"""Ops that split the data into steps for a loop, and the index of the input that contains the data."""
_LOSING_SPACE = {"Reshape", "Squeeze", "Mean", "Max"}
"""Ops that flatten a tensor with spatial dimensions, or pool it over all of them."""
_ENTERING = {
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad", "SpaceToBatchND", "ExpandDims", "Transpose", "Identity", "Cast"), 0),
    **dict.fromkeys((*SWITCHES, "ReverseV2", "ReverseSequence"), 0),
    **_STEPS,
}
"""Ops that prepare a tensor for the next layer's op, and the index of the input that is this tensor."""


@dataclass(frozen=True)
class Depth:
    """A place to cut a network: the layers that it adds to the depth below, and the tensor that a head reads.

    Depth 0 is the input, with no layer below. `spatial` is the tensor before flattening or global pooling, which a head
    with its own pooling reads; None if there is neither.
    """

    number: int
    layers: tuple[str, ...]
    tensor: str
    spatial: str | None = None


def depths(graph: Graph, inputs: Sequence[str], logits: str | None = None) -> list[Depth]:
    """Return the depths of a graph from its input to below its head, in data-flow order.

    Args:
        graph: The graph, with its functions flattened.
        inputs: The tensors to which the data is fed.
        logits: The output tensor of the network; None to determine it from the graph.

    Raises:
        GraphError: no layer of the graph depends on the inputs.
    """
    top, is_head = _top(graph, logits)
    cuts = _Cuts(graph, inputs, top)
    places = [place for place in cuts.places() if not (is_head and place[0] == len(cuts.layers))]
    network = keras_network(graph)
    if network:  # Keras cannot cut inside one of its layers
        places = [place for place in places if network.lost or place[1] in network.calls]
    if not places and len(cuts.layers) > 1:
        places = list(cuts.ends())[: -1 if is_head else None]
    found = [Depth(0, (), inputs[0])]

    def depth(number: int, names: Sequence[str], tensor: str) -> Depth:
        spatial = cuts.spatial(tensor)
        is_place = network is None or network.lost or spatial in network.calls
        return Depth(number, tuple(names), tensor, spatial if is_place else None)

    below, waiting = 0, list[str]()
    for count, tensor in places:
        waiting += cuts.layers[below:count]
        below = count
        if all(name in cuts.adjusting for name in waiting):
            if len(found) > 1:
                found[-1] = depth(found[-1].number, (*found[-1].layers, *waiting), tensor)
                waiting = []
            continue
        found.append(depth(len(found), waiting, tensor))
        waiting = []
    return found


def _top(graph: Graph, logits: str | None) -> tuple[str, bool]:
    """Return the output tensor of the network, and whether it is that of a head: logits, or the input of a softmax.

    Of several outputs, the one that depends on most ops is chosen.
    """
    if known := [logits] if logits else compared_logits(graph):
        return max(known, key=lambda name: len(graph.ancestors(TensorRef.parse(name).op))), True
    outputs = [name for name in output_tensors(graph) if TensorRef.parse(name).op in graph.nodes]
    below = [logits_below(graph, name) for name in outputs or [result_of(graph, "logits").tensor]]
    top = max(below, key=lambda each: len(graph.ancestors(TensorRef.parse(each.tensor).op)))
    return top.tensor, top.activation is not None or _is_linear(graph, top.tensor)


def _is_linear(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor is a matrix product, with or without a bias, like logits."""
    op = TensorRef.parse(tensor).op
    while graph.nodes[op].op in {"Identity", "BiasAdd", "Add", "AddV2"}:
        sources = graph.sources[op]
        op = next((each for each in sources if graph.nodes[each].op == "MatMul"), sources[0])
    return graph.nodes[op].op == "MatMul"


class _Cuts:
    """The places where a network can be cut; `layers` are those that its output depends on, in data-flow order."""

    def __init__(self, graph: Graph, inputs: Sequence[str], top: str) -> None:
        self.graph, self.top = graph, TensorRef.parse(top)
        self.needed = graph.ancestors(self.top.op, stop={TensorRef.parse(name) for name in inputs})
        self.fed = graph.descendants(TensorRef.parse(name).op for name in inputs)
        self.uses = weight_uses(graph)
        self.meetings = {name: self._meetings(name) for name in self.uses.members}
        self.met = {op for ops in self.meetings.values() for op in ops}
        used = [name for name, ops in self.meetings.items() if ops]
        self.layers = sorted(used, key=lambda name: min(self.uses.rank[op] for op in self.meetings[name]))
        if not self.layers:
            raise GraphError(f"{graph.source}: no layer is known between the inputs {', '.join(inputs)} and {top}")
        self.adjusting = {
            name for name in self.layers if all(graph.nodes[op].op in _ADJUSTING for op in self.meetings[name])
        }

    def places(self) -> Iterator[tuple[int, str]]:
        """Yield each place where all data passes through one tensor: the number of layers below it, and the tensor."""
        until = self._until()
        opening: dict[int, list[TensorRef]] = defaultdict(list)
        for ref in until:
            opening[self._level(ref)].append(ref)
        passing: list[TensorRef] = opening[0]
        for count in range(1, len(self.layers) + 1):
            passing = [ref for ref in (*passing, *opening[count]) if until[ref] > count]
            if one := self._joined(passing):
                yield count, str(one)

    def _joined(self, passing: Sequence[TensorRef]) -> TensorRef | None:
        """Return the one tensor from which all of these are computed without weights; None if there is none."""
        left = set(passing)
        while len(left) > 1:
            last = max(left, key=lambda ref: self.uses.rank[ref.op])
            below = self._varying(last.op)
            if last.op in self.met or not below:
                return None
            left = left - {last} | set(below)
        ref = next(iter(left), None)
        return ref and self._before_entering(ref)

    def ends(self) -> Iterator[tuple[int, str]]:
        """Yield the same for the output of each layer, even if other data bypasses it."""
        outputs = {layer.name: layer.output for layer in layers(self.graph)}
        for count, name in enumerate(self.layers, start=1):
            if output := outputs[name]:
                yield count, activated(self.graph, output, self.needed)[0]

    def spatial(self, tensor: str) -> str | None:
        """Return a tensor as it was before it lost its spatial dimensions (dropout may follow); None if it did not."""
        top = TensorRef.parse(tensor)
        found, todo, seen = set[TensorRef](), [top], {top}
        while todo:
            ref = todo.pop()
            kind, inputs = self.graph.nodes[ref.op].op, self._varying(ref.op)
            if kind in _LOSING_SPACE:
                found.update(inputs[:1])
            elif kind in MERGES or kind == "Identity" or ref.op in self.regions:
                todo += [each for each in inputs if each not in seen]
                seen.update(inputs)
            else:
                return None
        one = next(iter(found), None)
        return str(one) if one and len(found) == 1 and self._level(one) == self._level(top) else None

    @cached_property
    def regions(self) -> dict[str, str]:
        """The TensorFlow 1 conditional or loop that each op is in, which is treated as one unit."""
        return Flow.of(self.graph).within(self.needed).regions

    @cached_property
    def levels(self) -> dict[str, int]:
        """The number of the highest layer that the value of each op, or of its region, depends on.

        Zero if the value depends on no layer, or not on the data.
        """
        numbers = {name: number for number, name in enumerate(self.layers, start=1)}
        levels: dict[str, int] = defaultdict(int)
        for name, ops in self.meetings.items():
            for op in ops:
                levels[self._unit(op)] = max(levels[self._unit(op)], numbers[name])
        ordered = [op for op in self.uses.ordered(self.needed) if not self.uses.is_fixed(op)]
        is_known = False
        while not is_known:
            is_known = True
            for op in ordered:
                unit = self._unit(op)
                below = (levels[self._unit(ref.op)] for ref in self._varying(op))
                level = max((levels[unit], *below))
                if level != levels[unit]:
                    levels[unit], is_known = level, not self.regions and is_known
        return levels

    def _until(self) -> dict[TensorRef, int]:
        """Return the highest layer that reads each tensor; for the output, a number above all layers.

        Tensors that depend on no layer are included only if weights are applied to them later: a mask bypasses all
        layers.
        """
        until: dict[TensorRef, int] = defaultdict(int)
        for op in self.needed:
            for ref in self._varying(op):
                if self._level(ref):
                    until[ref] = max(until[ref], self.levels[self._unit(op)])
                elif op in self.met:
                    source = self._before_entering(ref)
                    until[source] = max(until[source], self.levels[self._unit(op)])
        until[self.top] = len(self.layers) + 1
        return until

    def _varying(self, op: str) -> list[TensorRef]:
        """Return the inputs of an op that depend on the data."""
        return [ref for ref in self.graph.inputs(op) if ref.op in self.fed and not self.uses.is_fixed(ref.op)]

    def _level(self, ref: TensorRef) -> int:
        return self.levels[self._unit(ref.op)]

    def _unit(self, op: str) -> str:
        return self.regions.get(op, op)

    def _meetings(self, layer: str) -> list[str]:
        """Return the needed ops that apply a layer's weights to the data."""
        met = (op for weight in self.uses.members[layer] for op in self.uses.meetings(weight.op))
        return [op for op in met if op in self.needed and op in self.fed]

    def _before_entering(self, ref: TensorRef) -> TensorRef:
        """Return a tensor as it was before it was prepared for the next layer: padded, transposed or reshaped."""
        while ref != self.top:
            kind, inputs = self.graph.nodes[ref.op].op, self.graph.inputs(ref.op)
            place = 0 if self._is_regrouped(ref) else _ENTERING.get(kind)
            if place is None or self._turns_back(ref) or self.levels[self._unit(inputs[place].op)] != self._level(ref):
                break
            ref = inputs[place]
        return ref

    def _turns_back(self, ref: TensorRef) -> bool:
        """Return whether a transpose moves the batch axis first, rather than the time axis for a loop."""
        node = self.graph.nodes[ref.op]
        order = numbers(self.graph.nodes[self.graph.inputs(ref.op)[1].op]) if node.op == "Transpose" else None
        if order is None or order.reshape(-1)[0] == 0:
            return False
        readers = [self.graph.nodes[each].op for each in self.graph.readers[ref] if each in self.needed]
        return not any(kind in _STEPS or kind.startswith("Reverse") for kind in readers)

    def _is_regrouped(self, ref: TensorRef) -> bool:
        """Return whether a reshape joins the batch and time axes only for a matrix product."""
        if self.graph.nodes[ref.op].op != "Reshape":
            return False
        readers = [each for each in self.graph.readers[ref] if each in self.needed]
        behind = (last for each in readers for last in self.graph.consumers.get(each, ()))
        kinds = {self.graph.nodes[op].op for op in readers}
        return kinds == {"MatMul"} and all(self.graph.nodes[op].op == "Reshape" for op in behind if op in self.needed)
