"""The ends of layers: the last tensor that a layer computes before the next layer.

If the ops that use a layer's weights are in a scope of its name, the layer ends where the scope does, and later ops
outside of it belong to no layer (`bn1_act = tf.nn.elu(bn1)`). Otherwise the data flow determines the end: after the
last use of its weights, including ops that only change the shape, and the activation that is the only reader. A layer
inside a loop or a conditional ends after it.
"""

import re
from collections.abc import Collection
from functools import cached_property
from itertools import takewhile

from ckpttool.graph.contents.branches import output_of_branches
from ckpttool.graph.contents.last_uses import LastUses
from ckpttool.graph.contents.layer_tails import LayerTails
from ckpttool.graph.contents.weight_uses import WeightUses
from ckpttool.graph.core import TensorRef
from ckpttool.graph.ops import CASES, CONDITIONALS, EXITS, LOOPS, SHAPED_LIKE

_LOOP = re.compile(r"while(_\d+)?")
_NUMBER = re.compile(r"(_\d+)?")


class LayerEnds:
    """The output tensors of a graph's layers."""

    def __init__(self, uses: WeightUses) -> None:
        """Determine the last uses of weights, and the scope, of each layer."""
        self.uses = uses
        self.graph = uses.graph
        self.rank = uses.rank
        self.last_uses = LastUses(uses)
        self.last = {name: self.last_uses.of(name) for name in uses.members}
        self.scopes = {name: self._scope(name) for name in uses.members}
        self.tails = LayerTails(uses, self._is_foreign)

    def output(self, layer: str) -> TensorRef | None:
        """Return a layer's output tensor, or None if no op is known to compute with its weights."""
        scope, last = self.scopes[layer], self.last[layer]
        if conditional := next((op for op in last if self._holds_layers(op)), None):
            index = output_of_branches(self.graph, conditional, layer, self.uses.taken(conditional))
            return None if index is None else TensorRef(conditional, index)
        if scope is not None:
            return self._joined(layer, self._in_scope(layer, scope))
        if not last:
            return self._of_factors(layer)
        if any(map(self._loops, last)):
            behind = self._last_of(self.tails.behind_loop(layer, last))
            return self._joined(layer, behind) or self._of_factors(layer)
        return self.tails.end(layer, last)

    def _holds_layers(self, op: str) -> bool:
        """Return whether an op is a conditional whose branches contain several layers."""
        return self.graph.nodes[op].op in CONDITIONALS | CASES and len(self.uses.owners.get(op, ())) > 1

    def _joined(self, layer: str, end: TensorRef | None) -> TensorRef | None:
        """Return the output of the conditional if a layer ends in a branch that contains nothing else, else `end`."""
        if end is None or not self.last_uses.in_branch(end.op) or not self.last[layer]:
            return end
        return self.tails.joined(layer, [*self.last[layer], end.op]) or end

    def _of_factors(self, layer: str) -> TensorRef | None:
        """Return the last first use of weights that are never combined with the rows, or None."""
        users = [self.uses.users[weight.op][:1] for weight in self.uses.members[layer]]
        last = max((op for each in users for op in each), key=self.rank.__getitem__, default=None)
        return None if last is None or self._is_aside(last, looping=False) else TensorRef(last, 0)

    def _scope(self, layer: str) -> str | None:
        """Return the name scope of a layer's ops: the names of the last ones up to the layer's own name, or None.

        It ends before the first loop. A loop may contain only the name of a surrounding scope, as of a recurrent cell.
        """
        weights = [weight.op for weight in self.uses.members[layer]]
        users = [self.uses.users[weight] for weight in weights]
        factors = self.uses.ordered({op for each in users for op in each if self.uses.is_fixed(op)})
        ops = [*self.last[layer], *factors] or self.uses.ordered({op for each in users for op in each})
        is_repeated = any(len(self.uses.meetings(weight)) > 1 for weight in weights)
        own, *around = reversed(layer.split("/"))
        names = [own, re.sub(r"_\d+$", "", own), *(around if any(map(self._loops, ops)) else ())]
        scopes = (_scope_named(op.split("/")[:-1], name, is_repeated) for name in names for op in ops)
        return next((scope for scope in scopes if scope is not None), None)

    def _in_scope(self, layer: str, scope: str) -> TensorRef | None:
        """Return the last tensor that leaves the layer's ops in its scope, or None.

        If another layer's scope contains this one, that scope is used: a convolution's, around its normalisation.
        """
        parts = scope.split("/")
        around = ("/".join(parts[:length]) for length in range(1, len(parts)))
        region = self._region(layer, next((other for other in around if other in self._known_scopes), scope))
        return self._last_of(region)

    def _region(self, layer: str, scope: str) -> set[str]:
        """Return the ops in a scope that depend on the layer's variables, up to those that use other layers'."""
        users = (op for weight in self.uses.members[layer] for op in self.uses.users[weight.op])
        starts = [op for op in users if _is_in(op, scope)]
        looping = any(self.uses.in_loop(op) for op in starts)
        region, todo = set(starts), starts
        while todo:
            for reader in self.uses.readers(todo.pop()):
                aside = not _is_in(reader, scope) or self._is_aside(reader, looping)
                if reader not in region and not aside and not self._is_foreign(reader, layer):
                    region.add(reader)
                    todo.append(reader)
        return region

    def _last_of(self, region: Collection[str]) -> TensorRef | None:
        """Return the last tensor that leaves a region (of an op's outputs, the first that is read outside), or None."""
        leaving = [op for op in region if self._leaves(op, region)]
        op = max(leaving, key=self.rank.__getitem__, default=None)
        if op is None:
            return None
        outside = [reader for reader in self.uses.readers(op) if reader not in region]
        read = [ref.index for reader in outside for ref in self.graph.inputs(reader) if ref.op == op]
        return TensorRef(op, min(read, default=0))

    def _leaves(self, op: str, region: Collection[str]) -> bool:
        """Return whether an op's value is read outside of the region, or by no op; never for ops inside a loop."""
        if self.uses.in_loop(op) and self.graph.nodes[op].op not in EXITS:
            return False
        readers = self.uses.readers(op)
        is_read = any(reader not in region for reader in readers)
        return is_read or op in self.uses.ends or not self.graph.consumers.get(op)

    def _is_foreign(self, op: str, layer: str) -> bool:
        """Return whether an op uses another layer's variables, or is in another layer's scope inside this one's."""
        if self.uses.owners.get(op, set()) - {layer}:
            return True
        narrowest = self._narrowest_scope(op)
        scope = self.scopes[layer]
        anchor = next(iter(self.last[layer][-1:]), "") if scope is None else f"{scope}/"
        return bool(narrowest) and not _is_in(anchor, narrowest)

    def _narrowest_scope(self, op: str) -> str:
        """Return the innermost layer scope that contains an op, or an empty string."""
        scope = op.rpartition("/")[0]
        while scope and scope not in self._known_scopes:
            scope = scope.rpartition("/")[0]
        return scope

    @cached_property
    def _known_scopes(self) -> frozenset[str | None]:
        return frozenset(self.scopes.values())

    def _is_aside(self, op: str, looping: bool) -> bool:
        """Return whether an op is not part of the layer: it reads only shapes, or is in a loop without the layer."""
        kind = self.graph.nodes[op].op
        return kind in SHAPED_LIKE or (not looping and (kind.startswith("TensorArray") or self.uses.in_loop(op)))

    def _loops(self, op: str) -> bool:
        """Return whether an op is a loop, or inside one."""
        return self.graph.nodes[op].op in LOOPS or self.uses.in_loop(op)


def _scope_named(parts: list[str], name: str, whole: bool) -> str | None:
    """Return the innermost of an op's scopes with a name; with `whole`, the outermost of directly nested ones.

    The steps of an unrolled cell are in numbered scopes inside the cell's scope.

    >>> _scope_named(["rnn", "cell", "cell_27", "add"], "cell", whole=True)
    'rnn/cell'
    """
    end = max((place for place, part in enumerate(parts) if _is_numbered(part, name)), default=None)
    while whole and end and _is_numbered(parts[end - 1], name):
        end -= 1
    return None if end is None else "/".join(takewhile(lambda part: not _LOOP.fullmatch(part), parts[: end + 1]))


def _is_numbered(part: str, name: str) -> bool:
    """Return whether a scope has a name, possibly with the number that TensorFlow appends to make it unique.

    >>> _is_numbered("dense_1", "dense"), _is_numbered("dense1", "dense")
    (True, False)
    """
    return part.startswith(name) and _NUMBER.fullmatch(part, len(name)) is not None


def _is_in(op: str, scope: str) -> bool:
    return op.startswith(f"{scope}/") or not scope
