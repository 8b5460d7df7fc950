"""Last uses: the ops that compute with a layer's weights and on which no other use of the layer depends.

A layer may be used several times: on top of itself, on several inputs, in both branches of a conditional.
"""

from functools import cached_property

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.weight_uses import WeightUses
from ckpttool.graph.ops import SHAPED_LIKE
from ckpttool.graph.roles.resolve import has_towers


class LastUses:
    """Finds the last uses of each layer's weights."""

    def __init__(self, uses: WeightUses) -> None:
        """Store the uses of the weights."""
        self.uses = uses
        self.graph = uses.graph
        self.members = uses.members

    def of(self, layer: str) -> list[str]:
        """Return the ops that combine a layer's weights with the rows for the last time, in data-flow order.

        Of parallel uses, the last is returned if their results are joined, as for one layer on two inputs; else the
        first, because then they are copies of one network. In branches of a conditional, all uses are returned.
        """
        weights = [weight.op for weight in self.members[layer]]
        chosen = {self._chosen[weight] for weight in weights if weight in self._chosen}
        branches = {self._branches[op] for op in chosen if op in self._branches}
        uses = (op for weight in weights for op in self.uses.meetings(weight))
        return self.uses.ordered(chosen.union(op for op in uses if self._branches.get(op) in branches))

    def in_branch(self, op: str) -> bool:
        """Return whether an op is inside a TensorFlow 1 conditional."""
        return op in self._branches

    def _deepest(self, weight: str) -> list[str]:
        """Return the deepest uses of a weight, preferably of those on which other layers depend."""
        meetings = self.uses.meetings(weight)
        leading = [op for op in meetings if self.uses.leads_to_weights(op)] or meetings
        most = max((self._depth[op] for op in leading), default=0)
        return [op for op in leading if self._depth[op] == most]

    @cached_property
    def _chosen(self) -> dict[str, str]:
        """The last use of each weight; one of several parallel uses."""
        parallel = {weight: ops for weight in self.uses.weights if (ops := self._deepest(weight))}
        several = {weight: ops for weight, ops in parallel.items() if len(ops) > 1}
        chosen = {weight: ops[0] for weight, ops in parallel.items()}
        joined: set[str] = set()
        from_top = sorted(several, key=lambda weight: self.uses.rank[several[weight][-1]], reverse=True)
        for weight in from_top if several and not has_towers(self.graph) else ():
            layer = self.uses.weights[weight].layer
            first, *others = several[weight]
            way = self._until_next(layer, first)
            together = (op for op in reversed(others) if self._come_together(way, self._until_next(layer, op), joined))
            if last := next(together, None):
                chosen[weight] = last
                joined.add(layer)
        return chosen

    def _come_together(self, way: set[str], other: set[str], joined: set[str]) -> bool:
        """Return whether two paths share an op, or lead to the same layer whose own uses are joined (`joined`)."""
        layers = [{name for op in each for name in self.uses.owners.get(op, ())} for each in (way, other)]
        return bool(way & other or layers[0] & layers[1] & joined)

    def _until_next(self, layer: str, use: str) -> set[str]:
        """Return the ops that depend on a use of a layer, up to the next uses of other layers."""
        reached, todo = {use}, [use]
        while todo:
            for reader in self.uses.readers(todo.pop()):
                if reader not in reached and self.graph.nodes[reader].op not in SHAPED_LIKE:
                    reached.add(reader)
                    if not self.uses.owners.get(reader, set()) - {layer}:
                        todo.append(reader)
        return reached

    @cached_property
    def _depth(self) -> dict[str, int]:
        """The maximum number of uses of weights on a path to each op, including its own."""
        uses = {op for weight in self.uses.weights for op in self.uses.meetings(weight)}
        depth: dict[str, int] = {}
        for name in self.uses.ordered(self.graph.nodes):
            below = max((depth.get(source, 0) for source in self.graph.sources[name]), default=0)
            depth[name] = below + (name in uses)
        return depth

    @cached_property
    def _branches(self) -> dict[str, str]:
        """The key of the outermost conditional that contains each op; only ops inside conditionals are included."""
        return {name: mark for name, mark in Flow.of(self.graph).regions.items() if mark.startswith("switch ")}
