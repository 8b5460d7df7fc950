"""Graph: a MetaGraphDef with the look-ups that every other module of this floor needs."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property, wraps
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import suggestion
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
        return cls(op, int(index)) if colon and index.isdigit() else cls(text, 0)

    def __str__(self) -> str:
        return f"{self.op}:{self.index}"


def op_of(text: str) -> str:
    """Return the op of a tensor's name, or of a control input.

    >>> op_of("dnn/split:1"), op_of("^init"), op_of("init")
    ('dnn/split', 'init', 'init')
    """
    op, colon, index = text.rpartition(":")
    return (op if colon and index.isdigit() else text).removeprefix("^")


class _Refs(dict[str, TensorRef]):
    """Tensors by what nodes write in their inputs, each read once: an op's output is read by many."""

    def __missing__(self, text: str) -> TensorRef:
        self[text] = ref = TensorRef.parse(text)
        return ref


_EDGES = frozenset({"sources", "consumers", "readers", "users"})
"""What a graph knows of its ops alone, once it was asked."""


class Graph:
    """A graph and its collections, saver and signatures; it is never changed in place.

    A rewrite gives another graph (`having`, or a `Draft` of it), which shares with this one all that it does not
    change. So ask `header` for collections and the like, and `meta` only where the whole message is needed.
    """

    def __init__(
        self,
        meta: MetaGraphDef,
        source: str = "graph",
        nodes: Collection[NodeDef] | None = None,
        provenance: Provenance = UNKNOWN,
    ) -> None:
        """Wrap a message; `source` is the path that errors name, `nodes` are the ops if the message has none itself.

        `provenance` has the files that the graph was made of.

        Raises:
            GraphError: two ops have one name.
        """
        self.header = meta
        """The message of which everything but its ops counts: collections, functions, saver, signatures, versions."""
        self.source = source
        self.provenance = provenance
        self.allowed: frozenset[str] = frozenset()
        """The types of ops that may run though they can have side effects (see `gate`)."""
        self.whole: Graph | None = None
        """The graph that this one was made of by rewrites, whose saver counts where this one has left it behind."""
        self.refs = _Refs()
        """Tensors by what ops write in their inputs."""
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
        """The whole message; of a rewritten graph it is put together when it is first asked for."""
        if self._is_whole:
            return self.header
        meta = MetaGraphDef()
        meta.CopyFrom(self.header)
        meta.graph_def.node.extend(self.nodes.values())
        return meta

    @cached_property
    def bare_header(self) -> MetaGraphDef:
        """The header without ops; copied whole once, so that fields which are unknown here stay."""
        if not self._is_whole:
            return self.header
        bare = MetaGraphDef()
        bare.CopyFrom(self.header)
        del bare.graph_def.node[:]
        return bare

    def header_copy(self) -> MetaGraphDef:
        """Return the header without ops, the caller's to change."""
        header = MetaGraphDef()
        header.CopyFrom(self.bare_header)
        return header

    def having(self, nodes: Iterable[NodeDef] | None = None, header: MetaGraphDef | None = None) -> "Graph":
        """Return a graph with other ops or another header (one without ops); what is not given is shared.

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
        """Return the graph with more types of ops allowed to run that can have side effects."""
        if self.allowed.issuperset(op_types):
            return self
        graph = self.having()
        graph.allowed = self.allowed.union(op_types)
        return graph

    def apart(self) -> "Graph":
        """Return the graph as one that was read: what it is made of has a saver of other names."""
        graph = self.having()
        graph.whole = None
        return graph

    def __repr__(self) -> str:
        return f"<Graph {self.source}, {counted(len(self.nodes), 'op')}>"

    def op(self, name: str) -> NodeDef:
        """Return an op by its name.

        Raises:
            UnknownName: the graph has none; the message suggests the nearest.
        """
        if name not in self.nodes:
            raise UnknownName(f"{self.source}: no op named {name}{suggestion(name, self.nodes)}")
        return self.nodes[name]

    def inputs(self, name: str, control: bool = False) -> list[TensorRef]:
        """Return the tensors that an op reads; with `control`, also the ops that it only waits for (index -1).

        The list is kept for who asks next, so nobody may change it.
        """
        found = (self._waits if control else self._reads).get(name)
        if found is None:
            found = self._waits[name] = [self.refs[text] for text in self.nodes[name].input]
            if not control:
                found = self._reads[name] = [ref for ref in found if ref.index >= 0]
        return found

    @cached_property
    def sources(self) -> dict[str, list[str]]:
        """For each op the ops whose outputs it reads, one for each of its inputs."""
        return {name: [ref.op for ref in self.inputs(name)] for name in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, list[str]]:
        """For each op the ops that read one of its outputs, in graph order; control inputs do not count."""
        readers: dict[str, list[str]] = defaultdict(list)
        for name, sources in self.sources.items():
            for source in dict.fromkeys(sources):
                readers[source].append(name)
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

    def descendants(self, names: Iterable[str], control: bool = False, but: Collection[str] = ()) -> set[str]:
        """Return the ops whose values need those of the named ops, themselves included: the inverse of `ancestors`.

        Ops of the types in `but` are left out, with what needs the named ops through these alone.
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
        """Return the ops whose values the named ops need, themselves included.

        Tensors of `stop` are not followed to the ops that make them, nor are control inputs from these ops. To what is
        `known`, with all that it needs, is added what else they need.

        Raises:
            GraphError: an op reads one that is not in the graph.
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
        """Yield the name of each op that reads what is not there, or has no type, with what is wrong."""
        for name, node in self.nodes.items():
            if not node.op:
                yield name, "has no type"
            for text in node.input:
                if self.refs[text].op not in self.nodes:
                    yield name, f"reads {text}, which is not in the graph"

    def collection(self, key: str) -> list[str]:
        """Return a node-list collection's names, empty where there is none."""
        return list(self.header.collection_def[key].node_list.value) if key in self.header.collection_def else []


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
