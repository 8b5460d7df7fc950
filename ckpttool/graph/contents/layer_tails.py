"""Tails of layers: the ops after the last use of a layer's weights that belong to the layer, found by data flow alone.

After its last weight, a layer may change the shape of its result (squeeze what it expanded), merge the branches of a
conditional, leave a loop, and apply an activation of one or several ops (`x * sigmoid(x)`). These ops read only the
layer and constants, and no other op reads the tensors between them.
"""

import heapq
from collections.abc import Callable, Collection, Iterator

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.weight_uses import WeightUses
from ckpttool.graph.core import TensorRef
from ckpttool.graph.ops import (
    ELEMENT_BY_ELEMENT,
    EXITS,
    LOOP_RESULTS,
    LOOPS,
    MERGES,
    MOMENTS,
    NONLINEAR,
    PROBABILITIES,
    SCALES,
    SELECTS,
    SHAPED_LIKE,
    SHAPES,
    UNDOES,
)

_NEAR = 32
"""The number of ops that are searched for the tensor of a shape."""


class LayerTails:
    """The tails of a graph's layers; `is_foreign` is whether an op belongs to another layer than the given one."""

    def __init__(self, uses: WeightUses, is_foreign: Callable[[str, str], bool]) -> None:
        """Store how weights are used, and the test for ops of other layers."""
        self.uses = uses
        self.graph = uses.graph
        self.rank = uses.rank
        self.is_foreign = is_foreign

    def end(self, layer: str, last: list[str]) -> TensorRef:
        """Return the last tensor of a layer with these last uses of weights: after its activation, if it has one."""
        segments = self._segments(layer, last)
        end = next(segments)[-1]
        is_bent = is_clipped = False
        for segment in segments:
            kinds = {self.graph.nodes[op].op for op in segment}
            if is_bent:
                if not is_clipped or not kinds <= SCALES:
                    break
                end = segment[-1]
            elif not kinds.isdisjoint(NONLINEAR):
                last_kind = self.graph.nodes[segment[-1]].op  # `x * sigmoid(x)` is not a probability
                if last_kind in PROBABILITIES and not self.uses.leads_to_weights(segment[-1]):
                    break
                end, is_bent, is_clipped = segment[-1], True, "Relu6" in kinds
            elif not kinds.isdisjoint(MERGES | UNDOES.keys()):
                end = segment[-1]
        return TensorRef(end, self._read_output(end))

    def joined(self, layer: str, last: list[str]) -> TensorRef | None:
        """Return the merge of the conditional whose branches contain the layer; None if they contain other layers."""
        ends = (segment[-1] for segment in self._segments(layer, last))
        return next((TensorRef(op, 0) for op in ends if self.graph.nodes[op].op in MERGES), None)

    def behind_loop(self, layer: str, last: list[str]) -> set[str]:
        """Return the exits of a loop that contains the layer, and the ops after it that gather its results.

        A second transposition is not included: it prepares the rows of another loop.
        """
        region, todo = set(last), list(last)
        behind = {op for op in last if self.graph.nodes[op].op in LOOPS}
        turned: set[str] = set()
        while todo:
            op = todo.pop()
            for reader in self.uses.readers(op):
                kind, is_inside = self.graph.nodes[reader].op, self.uses.in_loop(reader)
                gathers = kind in LOOP_RESULTS and not is_inside and not (kind == "Transpose" and op in turned)
                goes_on = gathers if op in behind else is_inside or kind in LOOPS | EXITS
                if reader not in region and goes_on and not self.is_foreign(reader, layer):
                    region.add(reader)
                    todo.append(reader)
                    if kind in LOOPS | EXITS or op in behind:
                        behind.add(reader)
                    if kind == "Transpose" or op in turned:
                        turned.add(reader)
        return region & behind

    def _segments(self, layer: str, last: list[str]) -> Iterator[list[str]]:
        """Yield the layer's ops and those of its tail in segments, of which only the last op is read by later ops.

        The first segment ends after the last use of the layer's weights and of its input row.
        """
        core = self._core(layer, last)
        included = self._with_tail(layer, core)
        until = max((self.rank[op] for op in included - core if self._from_elsewhere(op, included)), default=-1)
        end, piece = last[-1], list[str]()
        for op in self.uses.ordered(included):
            piece.append(op)
            if self.rank[op] >= self.rank[end] and until <= self.rank[op]:
                yield piece
                end, piece = op, []
            readers = self._readers(op)
            if not included.issuperset(readers):
                break
            until = max([until, *(self.rank[reader] for reader in readers)])
        if end == last[-1] and piece:
            yield [end]

    def _core(self, layer: str, last: list[str]) -> set[str]:
        """Return the last uses of a layer's weights, and the ops between them."""
        top = self.rank[last[-1]]
        near, todo = set(last), list(last)
        while todo:
            for reader in self._readers(todo.pop()):
                if reader not in near and self.rank[reader] <= top and not self.is_foreign(reader, layer):
                    near.add(reader)
                    todo.append(reader)
        core = set(last)
        for op in reversed(self.uses.ordered(near)):
            if not core.isdisjoint(self._readers(op)):
                core.add(op)
        return core

    def _with_tail(self, layer: str, core: set[str]) -> set[str]:
        """Return the core with the later ops that read nothing else, and are elementwise or undo a change of shape."""
        entered = {self.graph.nodes[each].op for op in core for each in self.graph.sources[op] if each in self.rank}
        own, stem = set(core), self._stem(core)
        todo = [(self.rank[reader], reader) for op in core for reader in self._readers(op) if reader not in core]
        heapq.heapify(todo)
        while todo:
            op = heapq.heappop(todo)[1]
            if op not in own and self._goes_on(op, own, entered, stem) and not self.is_foreign(op, layer):
                own.add(op)
                for reader in self._readers(op):
                    heapq.heappush(todo, (self.rank[reader], reader))
        return own

    def _goes_on(self, op: str, own: Collection[str], entered: Collection[str], stem: Collection[str]) -> bool:
        """Return whether an op belongs to the layer that it reads; `entered` are the op types of the layer's inputs."""
        kind, inputs = self.graph.nodes[op].op, self.graph.sources[op]
        if kind in UNDOES:
            is_undoing = UNDOES[kind] in entered and inputs[0] in own
            return is_undoing and (kind != "Reshape" or self._is_shape_from_outside(inputs[1], own))
        if kind in MERGES:
            return all(each in own for each in inputs) and not Flow.of(self.graph).is_loop_merge(op)
        return kind in ELEMENT_BY_ELEMENT and all(
            self._is_own_row(each, kind, stem) for each in self._from_elsewhere(op, own)
        )

    def _from_elsewhere(self, op: str, own: Collection[str]) -> list[str]:
        """Return the inputs of an op other than a layer's own ops and constants."""
        return [each for each in self.graph.sources[op] if each not in own and not self._is_constant(each)]

    def _is_constant(self, op: str) -> bool:
        return self.uses.is_fixed(op) and not self.uses.made_of(op)

    def _is_own_row(self, op: str, kind: str, stem: Collection[str]) -> bool:
        """Return whether an op passes an elementwise layer's input row, which the layer may read repeatedly.

        The row itself may be multiplied or selected (`x * scale`, `where(x > 0, x, alpha * x)`); if it is added, it
        bypasses the layer. An activation of the row may also be added (`relu(x) - alpha * relu(-x)`).
        """
        if op in stem:
            return kind in SCALES | SELECTS | NONLINEAR
        inputs = self.graph.sources[op]
        own = [each for each in inputs if each in stem]
        is_simple = self.graph.nodes[op].op in ELEMENT_BY_ELEMENT
        return is_simple and bool(own) and all(each in own or self._is_constant(each) for each in inputs)

    def _stem(self, core: Collection[str]) -> set[str]:
        """Return the ops from which an elementwise layer reads its rows, back to the previous layer.

        Empty for other layers, for which any other input belongs to another layer.
        """
        if any(self.graph.nodes[op].op not in ELEMENT_BY_ELEMENT for op in core):
            return set()
        todo = [each for op in core for each in self.graph.sources[op] if not self.uses.is_fixed(each)]
        stem = set(todo) - set(core)
        for op in todo:
            if self.graph.nodes[op].op in ELEMENT_BY_ELEMENT | MOMENTS and not self.uses.owners.get(op):
                further = {each for each in self.graph.sources[op] if not self.uses.is_fixed(each)} - stem
                if len(stem) < _NEAR:
                    stem |= further
                    todo += further
        return stem

    def _is_shape_from_outside(self, shape: str, own: Collection[str]) -> bool:
        """Return whether a shape is computed from that of the layer's input, rather than of its own ops."""
        seen, todo = {shape}, [shape]
        for op in todo:
            inputs = self.graph.sources[op]
            if self.graph.nodes[op].op in SHAPES:
                return inputs[0] not in own
            todo += [each for each in inputs if each not in seen and len(seen) < _NEAR]
            seen.update(todo)
        return False

    def _readers(self, op: str) -> list[str]:
        return [reader for reader in self.uses.readers(op) if self.graph.nodes[reader].op not in SHAPED_LIKE]

    def _read_output(self, op: str) -> int:
        """Return the index of the op's output that is read; of several, the first."""
        return min(
            (ref.index for reader in self._readers(op) for ref in self.graph.inputs(reader) if ref.op == op), default=0
        )
