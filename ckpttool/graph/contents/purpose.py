"""Purpose: the results of a graph, and the ops on which they depend; other ops are not part of the network.

The results are the loss, the logits, the accuracy and the signatures' outputs. Without these, they are the ops that
depend on the most layers: for example, Keras computes one step of a cell before the loop of the cell, whose result no
op reads.
"""

from collections.abc import Mapping
from functools import cached_property

from ckpttool.graph.contents.flow import is_forward
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import NEXT_ITERATIONS, NO_RESULT
from ckpttool.graph.roles.resolve import certain_roles

_MOST_WIDEST, _MOST_LAYERS = 256, 4096
"""The maximum number of last ops that are compared pairwise, and of layers that are distinguished for this: bounds on
time and memory that no real network exceeds."""


class Purpose:
    """The results of a graph, and their readers; `rank` orders the ops, `layers` has the layer of each weight's op."""

    def __init__(self, graph: Graph, rank: Mapping[str, int], layers: Mapping[str, str]) -> None:
        """Store a graph; its results are determined on first use."""
        self.graph = graph
        self.order = sorted(graph.nodes, key=rank.__getitem__)
        self.layers = layers

    @cached_property
    def ends(self) -> frozenset[str]:
        """The ops of the results."""
        roles = certain_roles(self.graph)
        tensors = [roles.loss, roles.logits, roles.accuracy, *output_tensors(self.graph)]
        named = {TensorRef.parse(name).op for name in tensors if name is not None}
        return frozenset(named & self.graph.nodes.keys()) or self._widest

    def readers(self, op: str) -> list[str]:
        """Return the forward ops that read an op's outputs; if the results depend on the op, only such readers."""
        if op in self._needed:
            return [name for name in self.forward_readers(op) if name in self._needed]
        return [name for name in self.forward_readers(op) if name in self._useful]

    def forward_readers(self, op: str) -> list[str]:
        """Return the forward ops that read an op's outputs, also those on which no result depends."""
        return [name for name in self.graph.consumers.get(op, []) if name in self._forward]

    @cached_property
    def _forward(self) -> frozenset[str]:
        return frozenset(name for name in self.graph.nodes if is_forward(self.graph, name))

    @cached_property
    def _needed(self) -> frozenset[str]:
        return frozenset(self.graph.ancestors(*self.ends) if self.ends else ())

    @cached_property
    def _useful(self) -> frozenset[str]:
        """The forward ops that lead to something other than an update, a check or a report."""
        useful: set[str] = set()
        for name in reversed(self.order):
            if name in self._forward:
                readers = self.graph.consumers.get(name, ())
                if self._is_last(name) or not useful.isdisjoint(readers):
                    useful.add(name)
        return frozenset(useful)

    def _is_last(self, name: str) -> bool:
        """Return whether an op is a result: no op reads it, or has a control dependency on it as on a check."""
        kind = self.graph.nodes[name].op
        return kind in NEXT_ITERATIONS or not (kind in NO_RESULT or self.graph.users.get(name))

    @cached_property
    def _widest(self) -> frozenset[str]:
        """The last ops that depend on no update, and whose layers are not a proper subset of another last op's.

        If there are too many to compare them pairwise, all last ops are returned.
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
        """For each op, the layers on which it depends, as a bit set; the lowest bit is for updates."""
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
