"""Last uses: of the ops that compute with a layer's weights those behind which nothing more of the layer is to come.

A layer may be used several times: on top of itself, on several inputs, in both branches of a conditional.
"""

from functools import cached_property

from ckpttool.graph.contents.flow import Flow, is_loop_merge
from ckpttool.graph.contents.weight_uses import WeightUses
from ckpttool.graph.ops import MERGES, SHAPED_LIKE
from ckpttool.graph.roles.resolve import has_towers


class LastUses:
    """Which uses of each layer's weights are the last."""

    def __init__(self, uses: WeightUses) -> None:
        """Take how weights are used."""
        self.uses = uses
        self.graph = uses.graph
        self.members = uses.members

    def of(self, layer: str) -> list[str]:
        """Return the ops at which a layer's weights meet the rows for the last time, in the order of the data.

        Of several in parallel the last counts where their results come together, as those of one layer on two inputs
        do; else the first, for then they are copies of one network. All in the branches of a conditional count.
        """
        deepest = [self._deepest(weight.op) for weight in self.members[layer]]
        chosen = {ops[-1] if layer in self._coming_together else ops[0] for ops in deepest if ops}
        branches = {self._branches[op] for op in chosen if op in self._branches}
        uses = (op for weight in self.members[layer] for op in self.uses.meetings(weight.op))
        return self.uses.ordered(chosen.union(op for op in uses if self._branches.get(op) in branches))

    def in_branch(self, op: str) -> bool:
        """Say whether an op is inside of a conditional of TensorFlow 1."""
        return op in self._branches

    def _deepest(self, weight: str) -> list[str]:
        """Return the uses of a weight that most other uses are below, of those that lead on where there are any."""
        meetings = self.uses.meetings(weight)
        leading = [op for op in meetings if self.uses.leads_to_weights(op)] or meetings
        most = max((self._depth[op] for op in leading), default=0)
        return [op for op in leading if self._depth[op] == most]

    @cached_property
    def _coming_together(self) -> set[str]:
        """The layers whose parallel uses lead to one op, or to such uses of another layer."""
        found: set[str] = set()
        if has_towers(self.graph):
            return found
        several = {
            layer: [ops for each in members if len(ops := self._deepest(each.op)) > 1]
            for layer, members in self.members.items()
        }
        tops = {layer: max(self.uses.rank[ops[-1]] for ops in uses) for layer, uses in several.items() if uses}
        for layer in sorted(tops, key=tops.__getitem__, reverse=True):
            if any(self._come_together(layer, ops[0], ops[-1], found) for ops in several[layer]):
                found.add(layer)
        return found

    def _come_together(self, layer: str, first: str, last: str, above: set[str]) -> bool:
        """Say whether what two uses give goes into one op, or into one of the layers above that do."""
        ways = [self._until_next(layer, use) for use in (first, last)]
        layers = [{name for op in way for name in self.uses.owners.get(op, ())} for way in ways]
        return bool(ways[0] & ways[1] or layers[0] & layers[1] & above)

    def _until_next(self, layer: str, use: str) -> set[str]:
        """Return the ops that a use of a layer leads to, as far as the next uses of other layers."""
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
        """For each op how many uses of weights are on the longest way to it, its own included."""
        uses = {op for weight in self.uses.weights for op in self.uses.meetings(weight)}
        depth: dict[str, int] = {}
        for name in self.uses.ordered(self.graph.nodes):
            below = max((depth.get(ref.op, 0) for ref in self.graph.inputs(name)), default=0)
            depth[name] = below + (name in uses)
        return depth

    @cached_property
    def _branches(self) -> dict[str, str]:
        """For each op inside of conditionals the mark of the outermost one; none where the graph has no conditional."""
        nodes = self.graph.nodes
        if not any(node.op in MERGES and not is_loop_merge(self.graph, name) for name, node in nodes.items()):
            return {}
        return {name: mark for name, mark in Flow(self.graph).regions.items() if mark.startswith("switch ")}
