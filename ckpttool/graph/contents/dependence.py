"""Dependence: on which of some variables each op's value depends, computed in one pass over a graph."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PLACEHOLDERS, RESOURCE_UPDATES, RESTORES, SAVES, UPDATES, VARIABLES

_GRADIENT = re.compile(r"_grad/")
_GRADIENTS = re.compile(r"_grad/|(^|/)gradients(_\d+)?/|(^|/)gradient_tape/")


def is_gradient(name: str) -> bool:
    """Return whether an op has a name as `tf.gradients` creates it."""
    return _GRADIENTS.search(name) is not None


def differentiated_ops(graph: Graph) -> set[str]:
    """Return the ops that have a gradient: TensorFlow computes that of `loss/loss` in `gradients/loss/loss_grad/`."""
    scopes = {name[: found.start()] for name in graph.nodes for found in _GRADIENT.finditer(name)}
    ops = set[str]()
    for scope in scopes:
        name = scope
        while name and name not in graph.nodes:
            name = name.partition("/")[2]
        ops |= {name} - {""}
    return ops


@dataclass(frozen=True)
class Dependence:
    """The variables on which each op's value depends, as a bit set, with a bit for fed inputs."""

    graph: Graph
    bits: Mapping[str, int]
    own: Mapping[str, int]
    computing: frozenset[str]
    """The variables that are combined with fed inputs, other than in updates."""

    differentiated: frozenset[str]
    """The variables on which an op with a gradient depends."""

    fed: ClassVar[int] = 1
    """The bit of fed inputs."""

    @classmethod
    def of(cls, graph: Graph, variables: Sequence[str]) -> "Dependence":
        """Compute the dependence of all ops; restored tensors depend on nothing."""
        own = {op: 2 << place for place, op in enumerate(variables)}
        bits: dict[str, int] = {}
        forward, mixed, followed = differentiated_ops(graph), 0, 0
        for name in Flow.of(graph).order:
            op = graph.nodes[name].op
            mark = own.get(name, 0) | cls._is_fed(graph, name)
            for ref in graph.inputs(name) if op not in RESTORES else ():
                mark |= bits.get(ref.op, 0)
            bits[name] = mark
            if mark & cls.fed and not (op in UPDATES or op in RESOURCE_UPDATES or op in SAVES):
                mixed |= mark
            if name in forward:
                followed |= mark
        computing, differentiated = (
            frozenset(op for op, bit in own.items() if bit & found) for found in (mixed, followed)
        )
        return cls(graph, bits, own, computing, differentiated)

    @staticmethod
    def _is_fed(graph: Graph, name: str) -> int:
        """Return 1 for an op through which rows enter (a placeholder, an iterator, a queue), else 0."""
        op = graph.nodes[name].op
        return int(op in PLACEHOLDERS or not (graph.inputs(name) or op in VARIABLES or op in {"Const", "NoOp"}))

    def values(self, updates: Sequence[str]) -> int:
        """Return the dependence of the values that some update ops assign."""
        mark = 0
        for name in updates:
            for ref in self.graph.inputs(name)[1:]:
                mark |= self.bits.get(ref.op, 0)
        return mark

    def has(self, mark: int, variable: str) -> bool:
        """Return whether a bit set contains a variable."""
        return bool(mark & self.own[variable])
