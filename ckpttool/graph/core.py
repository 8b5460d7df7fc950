"""The class `Graph`: a MetaGraphDef, with lookups of ops, edges and collections."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property, wraps
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import number_in
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.lineage.provenance import UNKNOWN, Provenance

Answer = TypeVar("Answer")


class TensorRef(NamedTuple):
    """An op's output: `dnn/hidden2/Relu:0` is output 0 of the op `dnn/hidden2/Relu`.

    >>> TensorRef.parse("dnn/hidden2/Relu"), str(TensorRef.parse("split:1"))
    (TensorRef(op='dnn/hidden2/Relu', index=0), 'split:1')
    """

    op: str
    index: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs here

    @classmethod
    def parse(cls, text: str) -> "TensorRef":
        """Read `op`, `op:1` or a control input `^op` (index -1)."""
        if text.startswith("^"):
            return cls(text[1:], -1)
        op, colon, index = text.rpartition(":")
        number = number_in(index) if colon else None
        return cls(text, 0) if number is None else cls(op, number)

    def __str__(self) -> str:
        return f"{self.op}:{self.index}"


def op_of(text: str) -> str:
    """Return the op of a tensor's name, or of a control input.

    >>> op_of("dnn/split:1"), op_of("^init"), op_of("init")
    ('dnn/split', 'init', 'init')
    """
    op, colon, index = text.rpartition(":")
    return (op if colon and number_in(index) is not None else text).removeprefix("^")


class _Refs(dict[str, TensorRef]):
    """Parsed tensors by their text in node inputs; each text is parsed once, since many ops read the same tensor."""

    def __missing__(self, text: str) -> TensorRef:
        self[text] = ref = TensorRef.parse(text)
        return ref


_EDGES = frozenset({"sources", "consumers", "readers", "users"})
"""The cached properties that depend only on the ops, and so are shared with a graph that has another header."""


class Graph:
    """A graph and its collections, saver and signatures; it is immutable.

    A rewrite returns another graph (by `having` or a `Draft`), which shares everything unchanged with this one. So read
    collections and the like from `header`, and use `meta` only if the whole message is needed.
    """

    def __init__(
        self,
        meta: MetaGraphDef,
        source: str = "graph",
        nodes: Collection[NodeDef] | None = None,
        provenance: Provenance = UNKNOWN,
    ) -> None:
        """Wrap a message; `source` is the path that errors name, `nodes` are the ops if the message contains none.

        `provenance` lists the files from which the graph was made.

        Raises:
            GraphError: two ops have one name.
        """
        self.header = meta
        """The message with collections, functions, saver, signatures and versions; read ops from `nodes` instead."""
        self.source = source
        self.provenance = provenance
        self.allowed: frozenset[str] = frozenset()
        """The types of ops that may run although they can have side effects (see `gate`)."""
        self.whole: Graph | None = None
        """The graph from which this one was rewritten; its saver is used if this one no longer has a saver."""
        self.refs = _Refs()
        """Parsed tensors by their text in node inputs."""
        self._reads: dict[str, list[TensorRef]] = {}
        self._waits: dict[str, list[TensorRef]] = {}
        self._is_whole = nodes is None
        ops = meta.graph_def.node if nodes is None else nodes
        self.nodes: dict[str, NodeDef] = {node.name: node for node in ops}
        if len(self.nodes) != len(ops):
            counts = Counter(node.name for node in ops)
            twice = next(name for name, count in counts.items() if count > 1)
            raise GraphError(f"{source}: two ops are named {twice}")

    @cached_property
    def meta(self) -> MetaGraphDef:
        """The whole message; that of a rewritten graph is assembled on first use."""
        if self._is_whole:
            return self.header
        meta = MetaGraphDef()
        meta.CopyFrom(self.header)
        meta.graph_def.node.extend(self.nodes.values())
        return meta

    @cached_property
    def bare_header(self) -> MetaGraphDef:
        """The header without ops, made by copying the whole message once, which preserves unknown fields."""
        if not self._is_whole:
            return self.header
        bare = MetaGraphDef()
        bare.CopyFrom(self.header)
        del bare.graph_def.node[:]
        return bare

    def header_copy(self) -> MetaGraphDef:
        """Return a copy of the header without ops, which the caller may change."""
        header = MetaGraphDef()
        header.CopyFrom(self.bare_header)
        return header

    def having(self, nodes: Iterable[NodeDef] | None = None, header: MetaGraphDef | None = None) -> "Graph":
        """Return a graph with other ops or another header (one without ops); omitted arguments are shared.

        Raises:
            GraphError: two ops have one name.
        """
        ops = list(self.nodes.values() if nodes is None else nodes)
        graph = Graph(self.bare_header if header is None else header, self.source, ops, self.provenance)
        graph.refs, graph.allowed, graph.whole = self.refs, self.allowed, self.whole or self
        if nodes is None:
            graph._reads, graph._waits = self._reads, self._waits
            graph.__dict__ |= {name: self.__dict__[name] for name in _EDGES & self.__dict__.keys()}
            return graph
        same = {name for name, node in graph.nodes.items() if node is self.nodes.get(name)}
        graph._reads, graph._waits = (
            {name: refs for name, refs in known.items() if name in same} for known in (self._reads, self._waits)
        )
        return graph

    def allowing(self, op_types: Collection[str]) -> "Graph":
        """Return the graph with additional op types that may run although they can have side effects."""
        if self.allowed.issuperset(op_types):
            return self
        graph = self.having()
        graph.allowed = self.allowed.union(op_types)
        return graph

    def apart(self) -> "Graph":
        """Return the graph without its link to the original, whose saver uses other names."""
        graph = self.having()
        graph.whole = None
        return graph

    def __repr__(self) -> str:
        return f"<Graph {self.source}, {counted(len(self.nodes), 'op')}>"

    def op(self, name: str) -> NodeDef:
        """Return an op by its name.

        Raises:
            UnknownName: the graph has no such op; the message suggests the nearest name.
        """
        if name not in self.nodes:
            raise UnknownName(f"{self.source}: no op named {name}{suggestion(name, self.nodes)}")
        return self.nodes[name]

    def inputs(self, name: str, control: bool = False) -> list[TensorRef]:
        """Return the tensors that an op reads; with `control`, also the ops that it only waits for (index -1).

        The list is cached and shared, so callers must not change it.
        """
        found = (self._waits if control else self._reads).get(name)
        if found is None:
            found = self._waits[name] = [self.refs[text] for text in self.nodes[name].input]
            if not control:
                found = self._reads[name] = [ref for ref in found if ref.index >= 0]
        return found

    @cached_property
    def sources(self) -> dict[str, list[str]]:
        """For each op, the ops whose outputs it reads, one per input."""
        return {name: [ref.op for ref in self.inputs(name)] for name in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """For each op, the ops that read one of its outputs, in graph order, without control inputs."""
        readers: dict[str, list[str]] = defaultdict(list)
        for name, sources in self.sources.items():
            for source in dict.fromkeys(sources):
                readers[source].append(name)
        return readers

    @cached_property
    def readers(self) -> dict[TensorRef, list[str]]:
        """For each tensor, the ops that read it, in graph order."""
        readers: dict[TensorRef, list[str]] = defaultdict(list)
        for name in self.nodes:
            for ref in dict.fromkeys(self.inputs(name)):
                readers[ref].append(name)
        return readers

    @cached_property
    def users(self) -> dict[str, set[str]]:
        """For each op, the ops that read it or have a control dependency on it."""
        users: dict[str, set[str]] = defaultdict(set)
        for name in self.nodes:
            for ref in self.inputs(name, control=True):
                users[ref.op].add(name)
        return users

    def descendants(self, names: Iterable[str], control: bool = False, but: Collection[str] = ()) -> set[str]:
        """Return the ops whose values depend on the named ops, including these: the inverse of `ancestors`.

        Ops of the types in `but` are excluded, and so are ops that depend on the named ops only through them.
        """
        edges = self.users if control else self.consumers
        reached: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name not in reached and not (but and self.nodes[name].op in but):
                reached.add(name)
                todo.extend(edges.get(name, ()))
        return reached

    def ancestors(
        self, *names: str, control: bool = False, stop: Collection[TensorRef] = (), known: Collection[str] = ()
    ) -> set[str]:
        """Return the ops on whose values the named ops depend, including these.

        Tensors in `stop` are not followed to the ops that make them, nor are control inputs from these ops. `known` is
        a result of this method, to which the missing ops are added.

        Raises:
            GraphError: an op reads an op that is not in the graph.
        """
        stopped = stop and {*stop, *(TensorRef(ref.op, -1) for ref in stop)}
        reached, todo = set(known), list(names)
        while todo:
            name = todo.pop()
            if name in reached:
                continue
            if name not in self.nodes:
                raise GraphError(f"{self.source}: an op reads {name}, which is not in the graph")
            reached.add(name)
            refs = self.inputs(name, control)
            todo += [ref.op for ref in refs if ref not in stopped] if stopped else [ref.op for ref in refs]
        return reached

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the problem of each op without a type, or with an input that is not in the graph."""
        for name, node in self.nodes.items():
            if not node.op:
                yield name, "has no type"
            for text in node.input:
                if self.refs[text].op not in self.nodes:
                    yield name, f"reads {text}, which is not in the graph"

    def collection(self, key: str) -> list[str]:
        """Return the names in a node-list collection; empty if there is no such collection."""
        return list(self.header.collection_def[key].node_list.value) if key in self.header.collection_def else []


def cached(function: Callable[[Graph], Answer]) -> Callable[[Graph], Answer]:
    """Cache a function's result for each graph, which is possible because graphs are immutable.

    The result is shared, so callers must not change it. It must not refer to the graph, which would then never be
    freed.
    """
    answers: WeakKeyDictionary[Graph, Answer] = WeakKeyDictionary()

    @wraps(function)
    def answer(graph: Graph) -> Answer:
        if graph not in answers:
            answers[graph] = function(graph)
        return answers[graph]

    return answer
