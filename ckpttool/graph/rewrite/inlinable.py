"""Which functions can be inlined, and which side effects they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckpttool.core.errors import GraphError
from ckpttool.core.names import listed
from ckpttool.formats.tensorflow.tensor_proto import MESSAGE_LIMIT
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDef, NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CALLS
from ckpttool.graph.output_arguments import SEVERAL, arguments_in
from ckpttool.graph.rewrite.functions import functions_in, functions_with_effects, has_effect

OPS_LIMIT = 500_000
"""The maximum number of ops after inlining; the largest networks have some ten thousand."""


@dataclass(frozen=True)
class Facts:
    """Properties of a function that are independent of its calls.

    `passes` are identities that only return an output; `finals` are the ops that have run when the call is done.
    `has_effects` is whether some of these have side effects, `holds_back` whether an output does not wait for them.
    """

    passes: frozenset[str]
    finals: Sequence[str]
    has_effects: bool
    holds_back: bool


class Library:
    """The functions of a graph, and which calls of them can be inlined."""

    def __init__(self, graph: Graph) -> None:
        """Read a graph's function library, and the op definitions in its header."""
        library = graph.header.graph_def.library
        self.source = graph.source
        self.functions: Mapping[str, FunctionDef] = {each.signature.name: each for each in library.function}
        definitions = arguments_in(graph.header.meta_info_def.stripped_op_list.op)
        self.outputs = {**SEVERAL, **definitions, **arguments_in(each.signature for each in library.function)}
        self._own_gradients = {gradient.function_name for gradient in library.gradient}
        self._effects = functions_with_effects(library)
        self._facts: dict[str, Facts] = {}

    def called_by(self, node: NodeDef) -> str | None:
        """Return the name of the inlinable function that an op calls, or None.

        A function with a custom gradient is not inlinable, because its body has another gradient.
        """
        called = node.op if node.op in self.functions else None
        if node.op in CALLS:
            called = node.attr["f"].func.name if "f" in node.attr else ""
        return None if called in self._own_gradients else called

    def called(self, node: NodeDef) -> tuple[FunctionDef, Mapping[str, AttrValue]]:
        """Return the function that an op calls, and the attributes of the call.

        Raises:
            GraphError: the library does not contain it.
        """
        name = self.called_by(node) or ""
        if name not in self.functions:
            raise GraphError(f"{self.source}: {node.name} calls the function {name!r}, which is not in the graph")
        return self.functions[name], node.attr["f"].func.attr if node.op in CALLS else node.attr

    def require_finite(self, calls: Sequence[NodeDef], beside: int) -> None:
        """Check that inlining would not exceed the limits; `beside` is the number of the graph's other ops.

        Raises:
            GraphError: a function is missing or recursive, or there would be too many ops or bytes.
        """
        sizes: dict[str, tuple[int, int]] = {}
        names = [self.called(node)[0].signature.name for node in calls]
        for name in names:
            self._measure(name, sizes)
        ops, nbytes = (sum(sizes[name][part] for name in names) for part in (0, 1))
        if ops + beside > OPS_LIMIT or nbytes > MESSAGE_LIMIT:
            found = f"{ops} ops and {nbytes} bytes" if ops < 10**12 else "more than 10 ** 12 ops"
            raise GraphError(
                f"{self.source}: the functions that it calls would be {found} when inlined; at most {OPS_LIMIT} ops "
                f"and {MESSAGE_LIMIT} "
                f"bytes are allowed"
            )

    def _measure(self, name: str, sizes: dict[str, tuple[int, int]]) -> None:
        """Add to `sizes` the numbers of ops and bytes of a function with all that it calls."""
        path = {name: self._callees(name)}
        while path:
            last = next(reversed(path))
            missing = next((each for each in path[last] if each not in sizes), None)
            if missing in path:
                circle = list(path)[list(path).index(str(missing)) :]
                raise GraphError(f"{self.source}: functions that call themselves endlessly: {listed(circle)}")
            if missing is not None:
                path[missing] = self._callees(missing)
                continue
            function, inner = self.functions[last], [sizes[each] for each in path.pop(last)]
            ops = len(function.node_def) + sum(each[0] for each in inner)
            sizes[last] = ops, function.ByteSize() + sum(each[1] for each in inner)

    def _callees(self, name: str) -> list[str]:
        nodes = self.functions[name].node_def
        return [self.called(node)[0].signature.name for node in nodes if self.called_by(node) is not None]

    def facts(self, function: FunctionDef) -> Facts:
        """Return the properties of a function."""
        name = function.signature.name
        if name not in self._facts:
            self._facts[name] = self._facts_of(function)
        return self._facts[name]

    def _facts_of(self, function: FunctionDef) -> Facts:
        nodes = {node.name: node for node in function.node_def}
        if len(nodes) != len(function.node_def):
            raise GraphError(f"{self.source}: the function {function.signature.name} has two ops of the same name")
        acting = {name for name, node in nodes.items() if self._acts(node)}
        finals = list(function.control_ret.values()) or [name for name in nodes if name in acting]
        effects = acting.intersection(finals)
        returned = {text.partition(":")[0] for text in function.ret.values()}
        awaited = _Awaited(nodes)
        passes = {
            name
            for name in returned
            if name in nodes and nodes[name].op == "Identity" and acting.isdisjoint(awaited.by(nodes[name]))
        }
        held = all(name in nodes and effects <= awaited.by(nodes[name]) for name in returned)
        return Facts(frozenset(passes), finals, bool(effects), bool(effects) and not held)

    def _acts(self, node: NodeDef) -> bool:
        """Return whether an op, or a function that it calls, has side effects."""
        called = [each.name for attr in node.attr.values() for each in functions_in(attr)]
        if node.op in self.functions or called:
            return not self._effects.isdisjoint([node.op, *called])
        return has_effect(node.op)


class _Awaited:
    """The control inputs of a body's ops, directly or through NoOps."""

    def __init__(self, nodes: Mapping[str, NodeDef]) -> None:
        self.nodes = nodes
        self.known: dict[tuple[str, ...], frozenset[str]] = {}

    def by(self, node: NodeDef) -> frozenset[str]:
        control = tuple(text[1:] for text in node.input if text.startswith("^"))
        if control not in self.known:
            found, todo = set[str](), list(control)
            while todo:
                name = todo.pop()
                if name not in found:
                    found.add(name)
                    inner = self.nodes[name] if name in self.nodes else NodeDef()
                    todo += [text[1:] for text in inner.input if inner.op == "NoOp" and text.startswith("^")]
            self.known[control] = frozenset(found)
        return self.known[control]
