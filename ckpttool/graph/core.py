"""Graph: a MetaGraphDef with the look-ups that every other module of this floor needs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, order=True)
class TensorRef:
    """An op's output: `dnn/hidden2/Relu:0` is output 0 of the op `dnn/hidden2/Relu`.

    >>> TensorRef.parse("dnn/hidden2/Relu"), str(TensorRef.parse("split:1"))
    (TensorRef(op='dnn/hidden2/Relu', index=0), 'split:1')
    """

    op: str
    index: int

    @classmethod
    def parse(cls, text: str) -> "TensorRef":
        """Read `op`, `op:1` or a control input `^op` (index -1)."""
        if text.startswith("^"):
            return cls(text[1:], -1)
        op, colon, index = text.rpartition(":")
        return cls(op, int(index)) if colon and index.isdigit() else cls(text, 0)

    def __str__(self) -> str:
        return f"{self.op}:{self.index}"


class _Refs(dict[str, TensorRef]):
    """Tensors by what nodes write in their inputs, each read once: an op's output is read by many."""

    def __missing__(self, text: str) -> TensorRef:
        self[text] = ref = TensorRef.parse(text)
        return ref


class Graph:
    """A graph and its collections, saver and signatures; it is never changed in place: rewrites give new graphs."""

    def __init__(self, meta: MetaGraphDef, source: str = "graph") -> None:
        """Wrap a message; `source` is the path that errors name.

        Raises:
            GraphError: two ops have one name.
        """
        self.meta = meta
        self.source = source
        self._refs = _Refs()
        self.nodes: dict[str, NodeDef] = {node.name: node for node in meta.graph_def.node}
        if len(self.nodes) != len(meta.graph_def.node):
            counts = Counter(node.name for node in meta.graph_def.node)
            twice = next(name for name, count in counts.items() if count > 1)
            raise GraphError(f"{source}: two ops are named {twice}")

    def __repr__(self) -> str:
        return f"<Graph {self.source}, {len(self.nodes)} ops>"

    def with_meta(self, meta: MetaGraphDef) -> "Graph":
        """Return a graph of another message that is made of this one's: a rewrite, a part of it."""
        return Graph(meta, self.source)

    def op(self, name: str) -> NodeDef:
        """Return an op by its name.

        Raises:
            UnknownName: the graph has none; the message suggests the nearest.
        """
        if name not in self.nodes:
            raise UnknownName(f"{self.source}: no op named {name}{suggestion(name, self.nodes)}")
        return self.nodes[name]

    def inputs(self, name: str, control: bool = False) -> list[TensorRef]:
        """Return the tensors that an op reads; with `control`, also the ops that it only waits for (index -1)."""
        refs = [self._refs[text] for text in self.nodes[name].input]
        return refs if control else [ref for ref in refs if ref.index >= 0]

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """For each op the ops that read one of its outputs, in graph order; control inputs do not count."""
        readers: dict[str, list[str]] = defaultdict(list)
        for name in self.nodes:
            for ref in dict.fromkeys(ref.op for ref in self.inputs(name)):
                readers[ref].append(name)
        return readers

    @cached_property
    def readers(self) -> dict[TensorRef, list[str]]:
        """For each tensor the ops that read it, in graph order."""
        readers: dict[TensorRef, list[str]] = defaultdict(list)
        for name in self.nodes:
            for ref in dict.fromkeys(self.inputs(name)):
                readers[ref].append(name)
        return readers

    @cached_property
    def users(self) -> dict[str, set[str]]:
        """For each op those that read it or wait for it."""
        users: dict[str, set[str]] = defaultdict(set)
        for name in self.nodes:
            for ref in self.inputs(name, control=True):
                users[ref.op].add(name)
        return users

    def descendants(self, names: Iterable[str], control: bool = False) -> set[str]:
        """Return the ops whose values need those of the named ops, themselves included: the inverse of `ancestors`."""
        edges = self.users if control else self.consumers
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo.extend(edges.get(name, ()))
        return reached

    def ancestors(self, *names: str, control: bool = False, stop: Collection[TensorRef] = ()) -> set[str]:
        """Return the ops whose values the named ops need, themselves included.

        Tensors of `stop` are not followed to the ops that make them, nor are control inputs from these ops.

        Raises:
            GraphError: an op reads one that is not in the graph.
        """
        stopped = stop and {*stop, *(TensorRef(ref.op, -1) for ref in stop)}
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in reached:
                continue
            if name not in self.nodes:
                raise GraphError(f"{self.source}: an op reads {name}, which is not in the graph")
            reached.add(name)
            todo.extend(ref.op for ref in self.inputs(name, control) if ref not in stopped)
        return reached

    def collection(self, key: str) -> list[str]:
        """Return a node-list collection's names, empty where there is none."""
        return list(self.meta.collection_def[key].node_list.value) if key in self.meta.collection_def else []


def copy_of(graph: Graph) -> MetaGraphDef:
    """Return a graph's message, ours to change."""
    meta = MetaGraphDef()
    meta.CopyFrom(graph.meta)
    return meta


def cached(function: Callable[[Graph], Answer]) -> Callable[[Graph], Answer]:
    """Cache a function of a graph on the graph: graphs never change, and many modules ask the same.

    What the function returns is shared, so nobody may change it; and it may not hold the graph, which would then never
    be freed.
    """
    answers: WeakKeyDictionary[Graph, Answer] = WeakKeyDictionary()

    @wraps(function)
    def answer(graph: Graph) -> Answer:
        if graph not in answers:
            answers[graph] = function(graph)
        return answers[graph]

    return answer
