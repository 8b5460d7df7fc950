"""Dependence: which of some variables each op's value is made of, in one pass over a graph."""

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
    """Say whether an op is named as `tf.gradients` names what it makes."""
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
    """For each op which of some variables its value depends on, a bit for each, and whether on what is fed."""

    graph: Graph
    bits: Mapping[str, int]
    own: Mapping[str, int]
    computing: frozenset[str]
    """The variables that are computed with together with what is fed, but where something is updated."""

    differentiated: frozenset[str]
    """The variables that something with a gradient is computed with."""

    fed: ClassVar[int] = 1
    """The bit of what is fed."""

    @classmethod
    def of(cls, graph: Graph, variables: Sequence[str]) -> "Dependence":
        """Look at all ops; what was read from a checkpoint depends on nothing."""
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
        """Return the bit of what is fed for what rows come in by: a placeholder, or an iterator or queue's op."""
        op = graph.nodes[name].op
        return int(op in PLACEHOLDERS or not (graph.inputs(name) or op in VARIABLES or op in {"Const", "NoOp"}))

    def values(self, updates: Sequence[str]) -> int:
        """Return what the values depend on that some ops change a variable by."""
        mark = 0
        for name in updates:
            for ref in self.graph.inputs(name)[1:]:
                mark |= self.bits.get(ref.op, 0)
        return mark

    def has(self, mark: int, variable: str) -> bool:
        """Say whether a variable is among what is marked."""
        return bool(mark & self.own[variable])
