"""Replacing resource variables by constants: reads of their handles become reads of constants, also in functions."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, FunctionDef, NodeDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CASES, CONDITIONALS, FLOW, LOOPS
from ckpttool.graph.rewrite.draft import copy_of, free_name, type_attr
from ckpttool.graph.rewrite.functions import functions_in

VARIABLE = "VarHandleOp"
Numbers = Mapping[int, int]
"""Dtypes (by number) by the position of an argument."""
_READS = {
    "ReadVariableOp": ("Identity", {"dtype": "T"}),
    "VariableShape": ("Shape", {"out_type": "out_type"}),
    "ResourceGather": ("GatherV2", {"dtype": "Tparams", "Tindices": "Tindices", "batch_dims": "batch_dims"}),
    "ResourceGatherNd": ("GatherNd", {"dtype": "Tparams", "Tindices": "Tindices"}),
}
"""For each op that reads a variable, the op that does the same to a tensor, and the names of its attributes there."""
READS = frozenset({*_READS, "VarIsInitializedOp"})
_INT32 = BY_NAME["int32"]


def constant_variables(graph: Graph) -> Graph:
    """Return the graph in which resource variables are constants with the same names, still without values.

    Raises:
        GraphError: an op changes a variable, or is not known to only read it.
    """
    rewriter = _Rewriter(graph)
    nodes, header = list(rewriter.nodes()), graph.header_copy()
    header.graph_def.library.function.extend(rewriter.functions.made.values())
    return graph.having(nodes, header)


class _Rewriter:
    """Rewrites a graph once; `handles` has the variable of each handle."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.functions = ConstantFunctions(graph)
        self.handles: dict[str, str | None] = {}

    def nodes(self) -> Iterator[NodeDef]:
        """Yield the new nodes: constants instead of variables, and rewritten readers of handles."""
        for name, old in self.graph.nodes.items():
            held = {place: v for place, ref in enumerate(self.graph.inputs(name)) if (v := self.variable(ref.op))}
            numbers = {place: self.graph.nodes[variable].attr["dtype"].type for place, variable in held.items()}
            if old.op == VARIABLE:
                node = NodeDef(name=name, op="Const")
                node.attr["dtype"].CopyFrom(old.attr["dtype"])
                node.attr["value"].tensor.dtype = old.attr["dtype"].type
                node.attr["value"].tensor.tensor_shape.CopyFrom(old.attr["shape"].shape)
                yield node
            elif not held:
                yield old
            elif old.op in READS:
                yield from tensor_read(copy_of(old), numbers[0], self.graph.nodes)
            else:
                node = copy_of(old)
                node.ClearField("experimental_type")
                if node.op in FLOW:
                    node.attr["T"].CopyFrom(type_attr(next(iter(numbers.values()))))
                elif self.functions.is_call(node):
                    self.functions.let_take(node, numbers)
                else:
                    raise GraphError(
                        f"{self.graph.source}: {name} ({node.op}) may change the variable {next(iter(held.values()))}, "
                        f"which therefore cannot be a constant"
                    )
                yield node

    def variable(self, name: str) -> str | None:
        """Return the variable whose handle an op returns, also through conditionals and loops; else None."""
        if name not in self.handles:
            self.handles[name] = None  # a loop's back edge leads here again
            node = self.graph.nodes[name]
            if node.op == VARIABLE:
                self.handles[name] = name
            elif node.op in FLOW and node.attr["T"].type == DT_RESOURCE:
                sources = (self.variable(ref.op) for ref in self.graph.inputs(name))
                self.handles[name] = next((source for source in sources if source), None)
        return self.handles[name]


class ConstantFunctions:
    """The functions of a graph, and copies of them whose arguments are tensors instead of handles."""

    def __init__(self, graph: Graph) -> None:
        """Read the graph's function library."""
        self.graph = graph
        self.library = {function.signature.name: function for function in graph.header.graph_def.library.function}
        self.made: dict[tuple[str, tuple[tuple[int, int], ...]], FunctionDef] = {}

    def is_call(self, node: NodeDef) -> bool:
        """Return whether an op calls functions."""
        return node.op in self.library or any(True for attr in node.attr.values() for _ in functions_in(attr))

    def let_take(self, node: NodeDef, inputs: Numbers) -> dict[int, int]:
        """Change a call, in place, to pass tensors at some input positions; return the outputs that become tensors."""
        chooses = node.op in CONDITIONALS | CASES  # the first input is the condition, which is not passed on
        arguments = {position - chooses: number for position, number in inputs.items()}
        called = [function for attr in node.attr.values() for function in functions_in(attr)]
        for function in called:
            function.name = self._made(function.name, arguments).signature.name
        if node.op in self.library:
            node.op = self._made(node.op, arguments).signature.name
        for key in {"T", "Tin"} & node.attr.keys():
            for position, number in arguments.items():
                node.attr[key].list.type[position] = number  # type: ignore[call-overload]
        node.attr.pop("output_shapes", None)  # they are the shapes of handles
        return dict(arguments) if node.op in LOOPS else {}  # a loop returns its inputs

    def _made(self, name: str, arguments: Numbers) -> FunctionDef:
        """Return the copy of a function with tensors for some arguments; it is made at the first request."""
        key = (name, tuple(sorted(arguments.items())))
        if key not in self.made:
            new = FunctionDef()
            new.CopyFrom(self.library[name])
            self.made[key] = new
            taken = {*self.library, *(function.signature.name for function in self.made.values())}
            new.signature.name = free_name(f"{name}_constant", taken)
            self._rewrite(new, arguments)
        return self.made[key]

    def _rewrite(self, function: FunctionDef, arguments: Numbers) -> None:
        """Rewrite a function in place: its arguments, the ops that read them, and outputs that return them."""
        for position, number in arguments.items():
            argument = function.signature.input_arg[position]
            argument.type = number  # type: ignore[assignment]
            argument.ClearField("handle_data")
            argument.ClearField("experimental_full_type")
            function.arg_attr.pop(position, None)
        function.resource_arg_unique_id.clear()
        handles = {function.signature.input_arg[position].name: number for position, number in arguments.items()}
        renamed: dict[str, str] = {}
        nodes = list(self._nodes(function, handles, renamed))
        for node in nodes:
            node.input[:] = [renamed.get(text, text) for text in node.input]
        rewritten = FunctionDef(node_def=nodes)
        del function.node_def[:]
        function.node_def.extend(rewritten.node_def)
        for output in function.signature.output_arg:
            text = function.ret[output.name]
            function.ret[output.name] = renamed.get(text, text)
            if text in handles:
                output.type = handles[text]  # type: ignore[assignment]
                output.ClearField("handle_data")

    def _nodes(self, function: FunctionDef, handles: dict[str, int], renamed: dict[str, str]) -> Iterator[NodeDef]:
        """Yield a function's nodes, rewritten to read tensors; add to `handles` and `renamed` in place."""
        names = {node.name for node in function.node_def}
        for node in function.node_def:
            held = {position: handles[text] for position, text in enumerate(node.input) if text in handles}
            if held and node.op in READS:
                renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
                *axis, read = tensor_read(node, held[0], names)
                read.input[2:3] = [f"{constant.name}:output:0" for constant in axis] or read.input[2:3]
                yield from (*axis, read)
                continue
            passed: Numbers = {}
            if held and node.op == "Identity":
                node.attr["T"].CopyFrom(type_attr(held[0]))
                passed = {0: held[0]}
            elif held and self.is_call(node):
                passed = self.let_take(node, held)
            elif held:
                raise GraphError(
                    f"{self.graph.source}: {node.name} ({node.op}) in a function may change a variable, which "
                    f"therefore cannot be a constant"
                )
            handles |= {f"{node.name}:output:{place}": number for place, number in passed.items()}
            yield node


def tensor_read(node: NodeDef, number: int, taken: Collection[str]) -> Iterator[NodeDef]:
    """Yield the op that replaces a read of a variable of a dtype (by number), preceded by its axis if it needs one."""
    node.ClearField("experimental_type")
    if node.op == "VarIsInitializedOp":
        yield constant(node.name, np.array(True), BY_NAME["bool"])
        return
    attributes = dict(node.attr.items())
    node.op, kept = _READS[node.op]
    node.ClearField("attr")
    for old, new in kept.items():
        if old in attributes:
            node.attr[new].CopyFrom(attributes[old])
    if node.op == "Shape":
        node.attr["T"].CopyFrom(type_attr(number))
    if node.op == "GatherV2":
        batched = attributes["batch_dims"].i if "batch_dims" in attributes else 0
        axis = constant(free_name(f"{node.name}/axis", taken), np.array(batched, np.int32), _INT32)
        yield axis
        node.attr["Taxis"].CopyFrom(type_attr(_INT32.number))
        node.input.insert(2, axis.name)
    yield node
