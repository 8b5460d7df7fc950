"""Data flow of a graph, with TensorFlow 1's conditionals and loops as units, and the order of its ops."""

import heapq
import re
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Mapping
from functools import cached_property

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ASIDE, ENTERS, EXITS, MERGES, NEXT_ITERATIONS, SWITCHES


class Flow:
    """The ops of a graph (or some of them), with the edges on which values depend.

    Besides an op's data inputs, these are its control inputs from the pivots of conditionals and loops: a constant
    inside a branch has a value only if the branch is taken.
    """

    def __init__(self, nodes: Mapping[str, NodeDef], reads: Mapping[str, list[TensorRef]], ops: Iterable[str]) -> None:
        """Store a graph's nodes, the inputs of each op including pivots (index -1), and the ops of the flow."""
        self.nodes, self.reads = nodes, reads
        self.inputs: dict[str, list[str]] = {name: [ref.op for ref in reads[name]] for name in ops}

    @staticmethod
    def of(graph: Graph) -> "Flow":
        """Return the flow of a whole graph, computed once."""
        return _whole_flow(graph)

    def within(self, ops: Container[str]) -> "Flow":
        """Return the flow of some of the ops."""
        return Flow(self.nodes, self.reads, (name for name in self.inputs if name in ops))

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """For each op, the ops that depend directly on its value."""
        readers: dict[str, list[str]] = {name: [] for name in self.inputs}
        for name, inputs in self.inputs.items():
            for source in dict.fromkeys(inputs):
                if source in readers:
                    readers[source].append(name)
        return readers

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """Return the ops on whose values the named ops depend, including these."""
        return _reach(names, self.inputs)

    def descendants(self, names: Iterable[str], stop: Container[str] = ()) -> set[str]:
        """Return the ops that depend on the named ops, including these, without `stop` and paths through it."""
        return _reach((name for name in names if name not in stop), self.consumers, stop)

    @cached_property
    def order(self) -> list[str]:
        """The ops, each after its inputs; the back edges of loops are ignored."""
        forward = {name: self._forward_inputs(name) for name in self.inputs}
        waiting = {name: len(sources) for name, sources in forward.items()}
        ready = deque(name for name, count in waiting.items() if count == 0)
        ordered: dict[str, None] = {}
        while ready:
            name = ready.popleft()
            ordered[name] = None
            for reader in self.consumers[name]:
                if name in forward[reader]:
                    waiting[reader] -= 1
                    if waiting[reader] == 0:
                        ready.append(reader)
        return [*ordered, *(name for name in self.inputs if name not in ordered)]

    @cached_property
    def regions(self) -> dict[str, str]:
        """For each op inside a conditional or loop, the mark of the outermost one, which is shared by its region.

        The ops that leave a region (Merge, Exit) are outside of it. An op in a conditional may have no value, if its
        branch does not run; an op in a loop has many.
        """
        return _Regions(self).marks

    def is_loop_merge(self, name: str) -> bool:
        """Return whether a Merge begins a loop's iteration, rather than ends a conditional."""
        return any(self.nodes[source].op in NEXT_ITERATIONS for source in self.inputs[name] if source in self.nodes)

    def _forward_inputs(self, name: str) -> set[str]:
        sources = {source for source in self.inputs[name] if source in self.inputs}
        if self.nodes[name].op in MERGES:
            sources = {source for source in sources if self.nodes[source].op not in NEXT_ITERATIONS}
        return sources


@cached
def _whole_flow(graph: Graph) -> Flow:
    def of_value(name: str) -> list[TensorRef]:
        """Return the tensors on which an op's value depends, including pivots as control inputs (index -1)."""
        data, every = graph.inputs(name), graph.inputs(name, control=True)
        if len(data) == len(every):
            return data
        return [ref for ref in every if ref.index >= 0 or is_pivot(graph, ref.op)]

    return Flow(graph.nodes, {name: of_value(name) for name in graph.nodes}, graph.nodes)


def is_pivot(graph: Graph, name: str) -> bool:
    """Return whether an op is a pivot, which runs only if a branch is taken: a switch, or an identity of its output."""
    node = graph.nodes.get(name)
    if node is None or node.op in SWITCHES:
        return node is not None
    inputs = graph.inputs(name) if node.op == "Identity" else []
    return bool(inputs) and inputs[0].op in graph.nodes and graph.nodes[inputs[0].op].op in SWITCHES


def _reach(names: Iterable[str], edges: dict[str, list[str]], stop: Container[str] = ()) -> set[str]:
    reached: set[str] = set()
    todo = [name for name in names if name in edges]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(other for other in edges[name] if other in edges and other not in stop)
    return reached


class _Regions:
    """For each op, the conditionals and loops that contain it, outermost first; marks of one conditional are joined."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.parents: dict[str, str] = {}
        self.stacks: dict[str, tuple[str, ...]] = {}
        for name in flow.order:
            self.stacks[name] = self._stack(name)
        self.marks = {name: self._find(stack[0]) for name, stack in self.stacks.items() if stack}

    def _stack(self, name: str) -> tuple[str, ...]:
        """Return an op's marks: those of its inputs, unless it enters or leaves a region."""
        flow, node = self.flow, self.flow.nodes[name]
        inputs = [self.stacks[source] for source in self.flow.inputs[name] if source in self.stacks]
        stack = max(inputs, key=len, default=())
        for other in inputs:
            self._join(stack, other)
        if node.op in ENTERS:
            return (*stack, "loop " + node.attr["frame_name"].s.decode("utf-8", "replace"))
        if node.op in SWITCHES:
            return stack if self._ends_round(name) else (*stack, "switch " + name)
        if node.op in MERGES:
            return stack if flow.is_loop_merge(name) else stack[:-1]
        return _without_loop(stack) if node.op in EXITS else stack

    def _ends_round(self, name: str) -> bool:
        """Return whether a switch is a loop's own: it leaves the loop or begins the next iteration."""
        inputs = self.flow.inputs[name]
        return len(inputs) > 1 and inputs[1] in self.stacks and self.flow.nodes[inputs[1]].op == "LoopCond"

    def _join(self, stack: tuple[str, ...], other: tuple[str, ...]) -> None:
        for mine, its in zip(stack, other, strict=False):
            first, second = self._find(mine), self._find(its)
            if first != second:
                self.parents[second] = first

    def _find(self, mark: str) -> str:
        while mark in self.parents:
            mark = self.parents[mark]
        return mark


def _without_loop(stack: tuple[str, ...]) -> tuple[str, ...]:
    """Return the marks without the innermost loop and the regions inside it."""
    for depth in range(len(stack) - 1, -1, -1):
        if stack[depth].startswith("loop "):
            return stack[:depth]
    return stack


_SIDE_SCOPE = re.compile(
    r"gradients(_\d+)?|.+_grad|save(_\d+)?|Initializer|Regularizer|AssignMovingAvg(_\d+)?|report_uninitialized_variables"
)


def ranks(graph: Graph) -> dict[str, int]:
    """Return a number for each op, higher than those of its inputs, and otherwise in the order of the file.

    The back edges of loops are ignored.
    """
    place = {name: position for position, name in enumerate(graph.nodes)}
    turns = {name for name, node in graph.nodes.items() if node.op in NEXT_ITERATIONS}
    waiting: dict[str, int] = {}
    readers: dict[str, list[str]] = defaultdict(list)
    for name in graph.nodes:
        sources = {source for source in graph.sources[name] if source in place and source not in turns}
        waiting[name] = len(sources)
        for source in sources:
            readers[source].append(name)
    ready = [place[name] for name, count in waiting.items() if not count]
    names, order = list(graph.nodes), dict[str, int]()
    while ready:
        name = names[heapq.heappop(ready)]
        order[name] = len(order)
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, place[reader])
    for name in graph.nodes:
        order.setdefault(name, len(order))
    return order


def is_forward(graph: Graph, name: str) -> bool:
    """Return whether an op computes forward, outside gradients, updates, savers, initialisers and summaries."""
    if graph.nodes[name].op in ASIDE:
        return False
    return not any(_SIDE_SCOPE.fullmatch(part) for part in name.split("/"))
