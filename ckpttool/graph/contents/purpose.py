"""Purpose: what the ops of a graph compute for; what nothing needs is not part of the network.

A graph is for its loss, its logits, its accuracy and what its signatures give. Where it has none of these, it is for
what depends on the most layers: a loop that Keras makes of a cell is preceded by one more of the cell's steps, whose
result nothing reads.
"""

from collections.abc import Mapping
from functools import cached_property

from ckpttool.graph.contents.flow import is_forward
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import NEXT_ITERATIONS, NO_RESULT
from ckpttool.graph.roles.resolve import certain_roles

_MOST_WIDEST, _MOST_LAYERS = 256, 4096
"""Ops beside one another that are held against each other, and layers that are told apart for that: no network has more
results of which none includes another, and time and memory are bounded."""


class Purpose:
    """What the ops of a graph are for: `rank` gives their order, `layers` the layer of each weight's op."""

    def __init__(self, graph: Graph, rank: Mapping[str, int], layers: Mapping[str, str]) -> None:
        """Take a graph; what it is for is found when it is first asked for."""
        self.graph = graph
        self.order = sorted(graph.nodes, key=rank.__getitem__)
        self.layers = layers

    @cached_property
    def ends(self) -> frozenset[str]:
        """The ops that computing is for."""
        roles = certain_roles(self.graph)
        tensors = [roles.loss, roles.logits, roles.accuracy, *output_tensors(self.graph)]
        named = {TensorRef.parse(name).op for name in tensors if name is not None}
        return frozenset(named & self.graph.nodes.keys()) or self._widest

    def readers(self, op: str) -> list[str]:
        """Return the forward ops that read an op's outputs: the needed ones where it is needed itself."""
        if op in self._needed:
            return [name for name in self.forward_readers(op) if name in self._needed]
        return [name for name in self.forward_readers(op) if name in self._useful]

    def forward_readers(self, op: str) -> list[str]:
        """Return the ops that read an op's outputs to compute with them, be it for nothing."""
        return [name for name in self.graph.consumers.get(op, []) if name in self._forward]

    @cached_property
    def _forward(self) -> frozenset[str]:
        return frozenset(name for name in self.graph.nodes if is_forward(self.graph, name))

    @cached_property
    def _needed(self) -> frozenset[str]:
        return frozenset(self.graph.ancestors(*self.ends) if self.ends else ())

    @cached_property
    def _useful(self) -> frozenset[str]:
        """The forward ops whose values end in something else than an update, a check or a report."""
        useful: set[str] = set()
        for name in reversed(self.order):
            if name in self._forward:
                readers = self.graph.consumers.get(name, ())
                if self._is_last(name) or not useful.isdisjoint(readers):
                    useful.add(name)
        return frozenset(useful)

    def _is_last(self, name: str) -> bool:
        """Say whether an op gives a result: nothing reads it, and no other op waits for it as for a check."""
        kind = self.graph.nodes[name].op
        return kind in NEXT_ITERATIONS or not (kind in NO_RESULT or self.graph.users.get(name))

    @cached_property
    def _widest(self) -> frozenset[str]:
        """The last ops that depend on layers of which no other depends on all and on more, and on no update.

        Where very many stand beside one another they are all last ops: each is held against each.
        """
        reach = self._reach()
        last = [name for name in self._forward if reach[name] > 1 and not reach[name] & 1 and self._is_last(name)]
        widest: list[int] = []
        for layers in sorted({reach[name] for name in last}, key=int.bit_count, reverse=True):
            if all(layers | other != other for other in widest):
                widest.append(layers)
            if len(widest) > _MOST_WIDEST:
                return frozenset(last)
        chosen = set(widest)
        return frozenset(name for name in last if reach[name] in chosen)

    def _reach(self) -> dict[str, int]:
        """For each op the layers that it depends on, as the bits of a number; the lowest is for updates."""
        layers = dict.fromkeys(self.layers.values())
        bits = {layer: 2 << (number if len(layers) <= _MOST_LAYERS else 0) for number, layer in enumerate(layers)}
        reach = {name: 0 if name in self._forward else 1 for name in self.graph.nodes}
        reach.update({name: bits[layer] for name, layer in self.layers.items()})
        loops = any(node.op in NEXT_ITERATIONS for node in self.graph.nodes.values())
        is_known = False
        while not is_known:
            is_known = True
            for name in self.order:
                found = reach[name]
                for source in self.graph.sources[name] if name in self._forward else ():
                    found |= reach.get(source, 0)
                if found != reach[name]:
                    reach[name], is_known = found, not loops and is_known
        return reach
