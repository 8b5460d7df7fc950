"""Flattening: inlines called functions into the graph.

TensorFlow 2 stores a network as functions that call one another. After flattening, its ops can be named, cut and
trained like those of a TensorFlow 1 graph. Functions of conditionals, loops and maps (If, Case, While), a SavedModel's
own saver, and functions with a custom gradient are not inlined.
"""

import re
from collections.abc import Iterator, Sequence

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDefLibrary, NodeDef
from ckpttool.graph.contents.savers import savers
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ENTERS, SWITCHES
from ckpttool.graph.rewrite.draft import copy_of
from ckpttool.graph.rewrite.function_body import Body, Call, output_text
from ckpttool.graph.rewrite.functions import called_functions, is_ordered
from ckpttool.graph.rewrite.header_names import rename_in_header
from ckpttool.graph.rewrite.inlinable import Library
from ckpttool.graph.rewrite.known_branches import with_known_branches
from ckpttool.graph.rewrite.scope_names import ScopeNames
from ckpttool.graph.rewrite.stand_ins import StandIns, op_of

_UNNAMED = re.compile(r"(Stateful)?PartitionedCall(_\d+)*")
"""TensorFlow's default names of calls, which are not used as a scope for the inlined ops."""
DEPTH_LIMIT = 100
"""The maximum nesting depth of conditionals with constant conditions."""


def flattened(graph: Graph) -> Graph:
    """Return the graph in which calls, including nested ones, are replaced by the bodies of their functions.

    Ops have their names in the function, below the scope of the call; if a name is taken, a number is appended to its
    first scope. Readers of a call's output read the op that computes it; ops with a control input from a call wait for
    the call's side effects. An If or a Case with a constant condition becomes the chosen branch. Signatures,
    collections and savers are updated. The library keeps the functions that are still called.

    Raises:
        GraphError: a function is missing, has other arguments, is recursive, or would become too many ops.
    """
    if not graph.header.graph_def.library.function:
        return graph
    for _ in range(DEPTH_LIMIT):
        decided = with_known_branches(_without_calls(graph))
        if decided is graph:
            return graph
        graph = decided
    raise GraphError(
        f"{graph.source}: conditions that constants decide are nested over {DEPTH_LIMIT} levels deep; perhaps their "
        "branches call themselves endlessly"
    )


def _without_calls(graph: Graph) -> Graph:
    """Return the graph without calls of functions; unchanged if it has none."""
    library, own = Library(graph), _saver_ops(graph)
    calls = [node for node in graph.nodes.values() if node.name not in own and library.called_by(node) is not None]
    if not calls:
        return graph
    library.require_finite(calls, len(graph.nodes))
    return _Flattening(graph, library, calls).result()


def _saver_ops(graph: Graph) -> set[str]:
    """Return the ops that the graph's savers name, which in TensorFlow 2 are calls of functions."""
    return {
        TensorRef.parse(name).op for saver in savers(graph) for name in (saver.save_tensor_name, saver.restore_op_name)
    }


class _Flattening:
    """One flattening: the inlined calls, and the tensors and ops that replace their outputs and control inputs."""

    def __init__(self, graph: Graph, library: Library, calls: Sequence[NodeDef]) -> None:
        self.graph, self.library, self.source = graph, library, graph.source
        self.calls = {node.name: node for node in calls}
        self.names = ScopeNames(graph.nodes)
        self.places = StandIns(graph.source)
        bodies = (function.node_def for function in library.functions.values())
        self.in_frames = any(
            node.op in ENTERS or node.op in SWITCHES for nodes in (graph.nodes.values(), *bodies) for node in nodes
        )

    def result(self) -> Graph:
        """Return the graph with all calls inlined."""
        bodies = {name: self._body(node) for name, node in self._by_importance()}
        nodes = [each for name, node in self.graph.nodes.items() for each in bodies.get(name, (node,))]
        rewired = [self._rewired(node) for node in nodes]
        header = self.graph.header_copy()
        rename_in_header(header, self._renamed)
        library = header.graph_def.library
        called = called_functions(library, rewired)
        kept = [function for function in library.function if function.signature.name in called]
        gradients = [gradient for gradient in library.gradient if gradient.function_name in called]
        library.CopyFrom(FunctionDefLibrary(function=kept, gradient=gradients))
        return self.graph.having([*rewired, *self.places.gathered.values()], header).apart()

    def _by_importance(self) -> list[tuple[str, NodeDef]]:
        """Return the calls, those of the default signature first, so that their ops get the unnumbered names."""
        signatures = self.graph.header.signature_def
        outputs = signatures[DEFAULT].outputs.values() if DEFAULT in signatures else ()
        first = {TensorRef.parse(info.name).op for info in outputs}
        return sorted(self.calls.items(), key=lambda item: item[0] not in first)

    def _body(self, node: NodeDef) -> list[NodeDef]:
        """Return the ops that replace a call, including those of nested calls."""
        nodes: list[NodeDef] = []
        under_way = [self._inlined(self._call(node))]
        while under_way:
            item = next(under_way[-1], None)
            if item is None:
                under_way.pop()
            elif isinstance(item, Call):
                under_way.append(self._inlined(item))
            else:
                nodes.append(item)
        return nodes

    def _call(self, node: NodeDef, gate: str | None = None) -> Call:
        """Read an op that calls a function; its control inputs include the `gate` of the enclosing call."""
        function, attrs = self.library.called(node)
        data = [text.removesuffix(":0") for text in node.input if not text.startswith("^")]
        waits = [text[1:] for text in node.input if text.startswith("^")] + ([gate] if gate else [])
        above, _, last = node.name.rpartition("/")
        scope = node.name if not _UNNAMED.fullmatch(last) else above
        return Call(node.name, f"{scope}/" if scope else "", function, data, waits, attrs, node.device)

    def _inlined(self, call: Call) -> Iterator[NodeDef | Call]:
        """Yield the ops of a call's body, and its nested calls; record what replaces the call's outputs.

        Stateful ops run no earlier than the call would have. In graphs with TensorFlow 1 conditionals or loops, so do
        ops without inputs, because an op there runs only if its inputs or control inputs do.
        """
        facts = self.library.facts(call.function)
        names = self.names.below(call.scope, [node.name for node in call.function.node_def])
        body, gate = Body(call, names, self.library.outputs, self.source), self._gate(call)
        for inner in call.function.node_def:
            name = names[inner.name]
            if inner.op == "NoOp":
                self.places.waits[name] = [body.outside(text[1:]) for text in inner.input]
            elif inner.name in facts.passes:
                self.places.values[name] = body.value(inner)
                self.places.waits[name] = [op_of(self.places.values[name])]
            elif self.library.called_by(inner) is not None:
                yield self._call(body.node(inner), gate)
            else:
                node = body.node(inner)
                if gate and (is_ordered(node.op) or (self.in_frames and not node.input)):
                    node.input.append(f"^{gate}")
                yield node
        finals = [body.outside(name) for name in facts.finals]
        for place, text in enumerate(body.returned):
            held = body.held(self.names.one(f"{call.scope}Identity"), place, finals) if facts.holds_back else None
            yield from [held] if held else ()
            self.places.values[output_text(call.name, place)] = held.name if held else text
        computed = () if facts.has_effects else (*map(op_of, body.returned), *call.waits)
        self.places.waits[call.name] = [*finals, *computed]

    def _gate(self, call: Call) -> str | None:
        """Return the control input for ops that must not run before a call would have; None if it waits for nothing."""
        waits = dict.fromkeys([*call.waits, *map(op_of, call.inputs)] if self.in_frames else call.waits)
        if len(waits) < 2:
            return next(iter(waits), None)
        gate = self.names.one(f"{call.name}/start")
        self.places.waits[gate] = list(waits)
        return gate

    def _rewired(self, node: NodeDef) -> NodeDef:
        """Return an op whose inputs, control inputs and colocations no longer refer to calls."""
        texts = self.places.inputs(node.input)
        gone = "_class" in node.attr and any(_place(raw) in self.calls for raw in node.attr["_class"].list.s)
        if not gone and texts == list(node.input):
            return node
        new = copy_of(node) if self.graph.nodes.get(node.name) is node else node
        new.input[:] = texts
        if gone:
            places = [raw for raw in new.attr["_class"].list.s if _place(raw) not in self.calls]
            new.attr["_class"].list.s[:] = places
        return new

    def _renamed(self, text: str) -> str:
        """Return the replacement of a tensor's or op's name in the header; a removed call becomes a NoOp."""
        name, colon, _ = text.removeprefix("^").partition(":")
        if colon:
            value = self.places.value(text)
            return value if ":" in value else f"{value}:0"
        if name in self.calls:
            self.places.gathering(name)
        return text


def _place(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").removeprefix("loc:@")
