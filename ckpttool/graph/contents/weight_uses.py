"""Uses of weights: the ops that compute with each variable, and those that combine it with the rows.

A tensor that depends only on weights and constants (a normalisation's factor, a reshaped bias) still counts as a
weight: it is used where it is combined with fed inputs. Gradients, updates, savers and reports do not count as uses.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.graph.contents.flow import ranks
from ckpttool.graph.contents.purpose import Purpose
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import (
    CALLS,
    CASES,
    CONDITIONALS,
    ENTERS,
    EXITS,
    JOINS,
    LOOPS,
    MERGES,
    PLACEHOLDERS,
    RANDOM,
    SHAPED_LIKE,
    STREAMS,
    SWITCHES,
    VARIABLES,
    WEIGHT_PASSES,
)

_MOST = 8
"""The maximum number of weights in a factor; a tensor that depends on more is a penalty on all weights."""


@dataclass(frozen=True)
class Weight:
    """A variable, or the constant that replaced it in a frozen graph: its layer, name, op and number of elements."""

    layer: str
    name: str
    op: str
    elements: int


class WeightUses:
    """How the ops of a graph use its weights.

    `users` are the ops that compute with each weight's op, `owners` the layers with whose weights an op computes;
    `rank` numbers the ops so that each has a higher number than its inputs.
    """

    def __init__(self, graph: Graph, weights: Sequence[Weight]) -> None:
        """Find the ops that compute with each of the weights."""
        self.graph = graph
        self.weights = {weight.op: weight for weight in weights}
        self.members: dict[str, list[Weight]] = defaultdict(list)
        for weight in weights:
            self.members[weight.layer].append(weight)
        self.rank = ranks(graph)
        self.purpose = Purpose(graph, self.rank, {weight.op: weight.layer for weight in weights})
        self.users = {weight.op: self._users(weight) for weight in weights}
        self.owners: dict[str, set[str]] = defaultdict(set)
        for weight in weights:
            for op in self.users[weight.op]:
                self.owners[op].add(weight.layer)

    @property
    def ends(self) -> Collection[str]:
        """The ops of the graph's results."""
        return self.purpose.ends

    def readers(self, op: str) -> list[str]:
        """Return the forward ops that read an op's outputs; for an op that the results need, only such readers."""
        return self.purpose.readers(op)

    def ordered(self, ops: Iterable[str]) -> list[str]:
        """Return ops in an order in which each follows its inputs."""
        return sorted(ops, key=self.rank.__getitem__)

    def places_in_calls(self, weights: Iterable[str]) -> list[int]:
        """Return the positions of weights among the inputs of calls, conditionals and loops."""
        places = []
        kinds = CALLS | CONDITIONALS | CASES | LOOPS
        for weight in weights:
            calls = [op for op in self.readers(weight) if self.graph.nodes[op].op in kinds]
            places += [ref for op in calls for ref, taken in enumerate(self.graph.inputs(op)) if taken.op == weight]
        return places

    def taken(self, op: str) -> dict[int, str]:
        """Return the layers of the weights among an op's inputs, by the inputs' positions."""
        found: dict[int, str] = {}
        for place, source in enumerate(self.graph.sources[op]):
            passed = source
            while passed not in self.weights and self.graph.nodes[passed].op in WEIGHT_PASSES:
                passed = self.graph.sources[passed][0]
            if passed in self.weights:
                found[place] = self.weights[passed].layer
        return found

    def in_loop(self, op: str) -> bool:
        """Return whether an op is inside a TensorFlow 1 loop."""
        return op in self._looping

    def made_of(self, op: str) -> Collection[str]:
        """Return the weights on which an op's value depends; empty if it also depends on the rows."""
        return self._factors.get(op, ())

    def is_fixed(self, op: str) -> bool:
        """Return whether an op's value is independent of the values of the fed rows."""
        return op in self._factors

    def leads_to_weights(self, op: str) -> bool:
        """Return whether another layer depends on an op's output."""
        return op in self._below_weights

    def meetings(self, weight: str) -> list[str]:
        """Return the ops that combine a weight with the rows; preferably those that read the weight itself."""
        direct = [op for op in self.users[weight] if not self.is_fixed(op)]
        return direct or self.ordered(self._joined.get(weight, ()))

    def _users(self, weight: Weight) -> list[str]:
        """Return the ops that compute with a weight's value: those that the results need, or else others."""
        readers = self.purpose.readers, self.purpose.forward_readers
        return next(filter(None, (self._users_among(weight.op, each) for each in readers)), [])

    def _users_among(self, weight: str, readers: Callable[[str], list[str]]) -> list[str]:
        """Return the readers of a weight, through reads, loop entries, switches and concatenated slices."""
        whole = re.sub(r"/part_\d+$", "", weight)
        found: dict[str, None] = {}
        seen, todo = {weight}, [weight]
        while todo:
            for reader in readers(todo.pop()):
                op_type = self.graph.nodes[reader].op
                joins = op_type in JOINS and (reader == whole or reader.startswith(f"{whole}/"))
                if op_type not in WEIGHT_PASSES and not joins:
                    found[reader] = None
                elif reader not in seen:
                    seen.add(reader)
                    todo.append(reader)
        return self.ordered(op for op in found if self.graph.nodes[op].op not in SHAPED_LIKE | CALLS)

    @cached_property
    def _looping(self) -> frozenset[str]:
        """The ops inside loops, without the exits."""
        inside: set[str] = set()
        todo = [name for name, node in self.graph.nodes.items() if node.op in ENTERS]
        while todo:
            name = todo.pop()
            if name not in inside:
                inside.add(name)
                if self.graph.nodes[name].op not in EXITS:
                    todo.extend(self.graph.consumers.get(name, ()))
        return frozenset(name for name in inside if self.graph.nodes[name].op not in EXITS)

    @cached_property
    def _factors(self) -> dict[str, frozenset[str]]:
        """The ops whose values do not depend on fed values, each with the weights on which it depends."""
        factors: dict[str, frozenset[str]] = {}
        for name in self.ordered(self.graph.nodes):
            kind, inputs = self.graph.nodes[name].op, self.graph.sources[name]
            if name in self.weights:
                factors[name] = frozenset({name})
            elif kind in SHAPED_LIKE or (not inputs and (kind == "Const" or kind in VARIABLES)):
                factors[name] = frozenset()
            elif kind in SWITCHES and inputs and inputs[0] in factors:
                factors[name] = factors[inputs[0]]
            elif inputs and not self._varies(kind) and all(op in factors for op in inputs):
                made = frozenset[str]().union(*(factors[op] for op in inputs))
                factors[name] = made if len(made) <= _MOST else frozenset()
        return factors

    def _varies(self, kind: str) -> bool:
        """Return whether ops of a type may return different values for the same inputs."""
        return kind in RANDOM or kind in MERGES or kind in PLACEHOLDERS or kind in STREAMS

    @cached_property
    def _joined(self) -> dict[str, set[str]]:
        """For each weight, the ops that combine it, or a factor that depends on it, with the rows."""
        joined: dict[str, set[str]] = defaultdict(set)
        for name, made in self._factors.items():
            for op in self.readers(name) if made else ():
                if not self.is_fixed(op) and self.graph.nodes[op].op not in CALLS:
                    for weight in made:
                        joined[weight].add(op)
        return joined

    @cached_property
    def _below_weights(self) -> set[str]:
        """The ops on which a use of a weight depends."""
        uses = {op for weight in self.weights for op in self.meetings(weight)}
        below: set[str] = set()
        todo = [source for op in uses for source in self.graph.sources[op]]
        while todo:
            name = todo.pop()
            if name not in below and name in self.graph.nodes:
                below.add(name)
                todo.extend(self.graph.sources[name])
        return below
