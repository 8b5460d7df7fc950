"""Flow: how values run through a graph, with TensorFlow 1's conditionals and loops as units, and in which order."""

import heapq
import re
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Mapping
from functools import cached_property

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ASIDE, ENTERS, EXITS, MERGES, NEXT_ITERATIONS, SWITCHES


class Flow:
    """The ops of a graph (or some of them) with the edges that carry values.

    Besides an op's data inputs these are its control inputs from the pivots of conditionals and loops: a constant
    inside of a branch exists only where the branch is taken.
    """

    def __init__(self, nodes: Mapping[str, NodeDef], reads: Mapping[str, list[TensorRef]], ops: Iterable[str]) -> None:
        """Take all ops of a graph, with what each of them reads, pivots (index -1) among it, and those that count."""
        self.nodes, self.reads = nodes, reads
        self.inputs: dict[str, list[str]] = {name: [ref.op for ref in reads[name]] for name in ops}

    @staticmethod
    def of(graph: Graph) -> "Flow":
        """Return the flow of all of a graph, which is looked at once."""
        return _whole_flow(graph)

    def within(self, ops: Container[str]) -> "Flow":
        """Return the flow of some of the ops alone."""
        return Flow(self.nodes, self.reads, (name for name in self.inputs if name in ops))

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """For each op the ops that its value goes into."""
        readers: dict[str, list[str]] = {name: [] for name in self.inputs}
        for name, inputs in self.inputs.items():
            for source in dict.fromkeys(inputs):
                if source in readers:
                    readers[source].append(name)
        return readers

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """Return the ops whose values the named ops need, themselves included."""
        return _reach(names, self.inputs)

    def descendants(self, names: Iterable[str], stop: Container[str] = ()) -> set[str]:
        """Return the ops that the named ops' values go into, themselves included, but not into or through `stop`."""
        return _reach((name for name in names if name not in stop), self.consumers, stop)

    @cached_property
    def order(self) -> list[str]:
        """The ops, each after those whose values it reads; a loop's way back does not count."""
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
        """For each op inside of a conditional or a loop the outermost one's mark: ops with one mark belong together.

        What leaves a region (Merge, Exit) is outside of it. Where only one branch of two runs, an op inside of a region
        may have no value at all; and inside of a loop it has many.
        """
        return _Regions(self).marks

    def is_loop_merge(self, name: str) -> bool:
        """Say whether a Merge begins a loop's round, rather than ends a conditional."""
        return any(self.nodes[source].op in NEXT_ITERATIONS for source in self.inputs[name] if source in self.nodes)

    def _forward_inputs(self, name: str) -> set[str]:
        sources = {source for source in self.inputs[name] if source in self.inputs}
        if self.nodes[name].op in MERGES:
            sources = {source for source in sources if self.nodes[source].op not in NEXT_ITERATIONS}
        return sources


@cached
def _whole_flow(graph: Graph) -> Flow:
    def of_value(name: str) -> list[TensorRef]:
        """Return the tensors that an op's value depends on; a pivot that it waits for counts (index -1)."""
        data, every = graph.inputs(name), graph.inputs(name, control=True)
        if len(data) == len(every):
            return data
        return [ref for ref in every if ref.index >= 0 or is_pivot(graph, ref.op)]

    return Flow(graph.nodes, {name: of_value(name) for name in graph.nodes}, graph.nodes)


def is_pivot(graph: Graph, name: str) -> bool:
    """Say whether an op stands for "this branch is taken": a switch, or the identity of one's output."""
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
    """For each op the conditionals and loops that it is in, outermost first; marks of one conditional are joined."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.parents: dict[str, str] = {}
        self.stacks: dict[str, tuple[str, ...]] = {}
        for name in flow.order:
            self.stacks[name] = self._stack(name)
        self.marks = {name: self._find(stack[0]) for name, stack in self.stacks.items() if stack}

    def _stack(self, name: str) -> tuple[str, ...]:
        """Return an op's marks: what it reads is in the same regions, unless it enters or leaves one."""
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
        """Say whether a switch is a loop's own: it leaves the loop or begins the next round."""
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
    """Leave the innermost loop."""
    for depth in range(len(stack) - 1, -1, -1):
        if stack[depth].startswith("loop "):
            return stack[:depth]
    return stack


_SIDE_SCOPE = re.compile(
    r"gradients(_\d+)?|.+_grad|save(_\d+)?|Initializer|Regularizer|AssignMovingAvg(_\d+)?|report_uninitialized_variables"
)


def ranks(graph: Graph) -> dict[str, int]:
    """Give each op a number above those of its inputs, as near to the file's order as that allows.

    The edges that close loops do not count.
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
    """Say whether an op computes, and is not part of gradients, updates, savers, initialisers or summaries."""
    if graph.nodes[name].op in ASIDE:
        return False
    return not any(_SIDE_SCOPE.fullmatch(part) for part in name.split("/"))
