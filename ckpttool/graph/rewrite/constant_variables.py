"""Variables made constants: what reads a variable by its handle reads a constant instead, in functions too."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, FunctionDef, NodeDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import CASES, CONDITIONALS, FLOW, LOOPS
from ckpttool.graph.rewrite.draft import copy_of, free_name, type_attr
from ckpttool.graph.rewrite.functions import functions_in

VARIABLE = "VarHandleOp"


def constant_variables(graph: Graph) -> Graph:
    """Return a graph of resource variables whose variables are constants of the same names, still without values.

    Raises:
        GraphError: an op changes a variable, or is not known to only read it.
    """
    rewriter = _Rewriter(graph)
    nodes, header = list(rewriter.nodes()), graph.header_copy()
    header.graph_def.library.function.extend(rewriter.functions.made.values())
    return graph.having(nodes, header)


class _Rewriter:
    """One rewriting: which variable each tensor is a handle of."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.functions = Functions(graph)
        self.handles: dict[str, str | None] = {}

    def nodes(self) -> Iterator[NodeDef]:
        """Yield the new nodes."""
        for name, node in self.graph.nodes.items():
            held = {place: v for place, ref in enumerate(self.graph.inputs(name)) if (v := self.variable(ref.op))}
            if node.op == VARIABLE:
                yield _empty(node)
            elif held:
                numbers = {place: self.graph.nodes[held[place]].attr["dtype"].type for place in held}
                yield from self._rewritten(copy_of(node), numbers, next(iter(held.values())))
            else:
                yield node

    def variable(self, name: str) -> str | None:
        """Return the variable that an op gives the handle of, also through conditionals and loops."""
        if name not in self.handles:
            self.handles[name] = None  # a loop's way back comes here again
            node = self.graph.nodes[name]
            if node.op == VARIABLE:
                self.handles[name] = name
            elif node.op in FLOW and node.attr["T"].type == DT_RESOURCE:
                sources = (self.variable(ref.op) for ref in self.graph.inputs(name))
                self.handles[name] = next((source for source in sources if source), None)
        return self.handles[name]

    def _rewritten(self, node: NodeDef, numbers: Mapping[int, int], variable: str) -> Iterator[NodeDef]:
        """Yield what stands in for an op that passes handles on, or reads a variable."""
        if node.op in READS:
            yield from tensor_read(node, numbers[0], self.graph.nodes)
            return
        if node.op in FLOW:
            node.attr["T"].CopyFrom(type_attr(next(iter(numbers.values()))))
        elif self.functions.is_call(node):
            self.functions.let_take(node, numbers)
        else:
            raise GraphError(
                f"{self.graph.source}: {node.name} ({node.op}) may change the variable {variable}, "
                f"which therefore cannot be a constant"
            )
        node.ClearField("experimental_type")
        yield node


def _empty(variable: NodeDef) -> NodeDef:
    """Return a constant of a variable's name, dtype and shape that has no value yet."""
    node = NodeDef(name=variable.name, op="Const")
    node.attr["dtype"].CopyFrom(variable.attr["dtype"])
    tensor = node.attr["value"].tensor
    tensor.dtype = variable.attr["dtype"].type
    tensor.tensor_shape.CopyFrom(variable.attr["shape"].shape)
    return node


Numbers = Mapping[int, int]
"""The number of a dtype by the position of an argument."""


class Functions:
    """The functions of a graph, and those made of them that take tensors in the place of handles."""

    def __init__(self, graph: Graph) -> None:
        """Take the graph's library."""
        self.graph = graph
        self.library = {function.signature.name: function for function in graph.header.graph_def.library.function}
        self.made: dict[tuple[str, tuple[tuple[int, int], ...]], FunctionDef] = {}

    def is_call(self, node: NodeDef) -> bool:
        """Say whether an op calls functions."""
        return node.op in self.library or any(True for attr in node.attr.values() for _ in functions_in(attr))

    def let_take(self, node: NodeDef, inputs: Numbers) -> dict[int, int]:
        """Let a call, in place, take tensors at some positions of its inputs; return which outputs are tensors then."""
        chooses = node.op in CONDITIONALS | CASES  # the first input chooses among functions, and goes into none
        arguments = {position - chooses: number for position, number in inputs.items()}
        called = [function for attr in node.attr.values() for function in functions_in(attr)]
        for function in called:
            function.name = self._made(function.name, arguments).signature.name
        if node.op in self.library:
            node.op = self._made(node.op, arguments).signature.name
        for key in {"T", "Tin"} & node.attr.keys():
            for position, number in arguments.items():
                node.attr[key].list.type[position] = number  # type: ignore[call-overload]
        node.attr.pop("output_shapes", None)  # of the handles
        return self._outputs(node, arguments)

    def _outputs(self, node: NodeDef, arguments: Numbers) -> dict[int, int]:
        """Return the dtypes' numbers of outputs that were handles: a loop gives back what it took."""
        if node.op in LOOPS:
            return dict(arguments)
        return {}

    def _made(self, name: str, arguments: Numbers) -> FunctionDef:
        """Return a function that takes tensors for some arguments, made when it is first asked for."""
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
        """Rewrite a function in place: arguments, the ops that read them, what it returns of them."""
        handles, renamed = _let_be_tensors(function, arguments), dict[str, str]()
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
        """Yield the nodes of a function that read tensors for handles; note what else is one, and what is renamed."""
        names = {node.name for node in function.node_def}
        for node in function.node_def:
            found = {position: handles[text] for position, text in enumerate(node.input) if text in handles}
            if found and node.op in READS:
                renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
                *axis, read = tensor_read(node, found[0], names)
                read.input[2:3] = [f"{constant.name}:output:0" for constant in axis] or read.input[2:3]
                yield from (*axis, read)
                continue
            passed = self._passed(node, found) if found else {}
            handles |= {f"{node.name}:output:{place}": number for place, number in passed.items()}
            yield node

    def _passed(self, node: NodeDef, found: Numbers) -> dict[int, int]:
        """Let an op of a function pass tensors on, or into a call; return which of its outputs they are."""
        if node.op == "Identity":
            node.attr["T"].CopyFrom(type_attr(found[0]))
            return {0: found[0]}
        if not self.is_call(node):
            raise GraphError(
                f"{self.graph.source}: {node.name} ({node.op}) in a function may change a variable, which therefore "
                f"cannot be a constant"
            )
        return self.let_take(node, found)


def _let_be_tensors(function: FunctionDef, arguments: Numbers) -> dict[str, int]:
    """Give arguments other dtypes, in place; return the dtypes' numbers by their names."""
    for position, number in arguments.items():
        argument = function.signature.input_arg[position]
        argument.type = number  # type: ignore[assignment]
        argument.ClearField("handle_data")
        argument.ClearField("experimental_full_type")
        function.arg_attr.pop(position, None)
    function.resource_arg_unique_id.clear()
    return {function.signature.input_arg[position].name: number for position, number in arguments.items()}


_READS = {
    "ReadVariableOp": ("Identity", {"dtype": "T"}),
    "VariableShape": ("Shape", {"out_type": "out_type"}),
    "ResourceGather": ("GatherV2", {"dtype": "Tparams", "Tindices": "Tindices", "batch_dims": "batch_dims"}),
    "ResourceGatherNd": ("GatherNd", {"dtype": "Tparams", "Tindices": "Tindices"}),
}
"""What does the same to a tensor, and how the attributes are called there."""
READS = frozenset({*_READS, "VarIsInitializedOp"})


def tensor_read(node: NodeDef, number: int, taken: Collection[str]) -> Iterator[NodeDef]:
    """Yield what stands in for an op that reads a variable of a dtype's number, and the axis where it needs one."""
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


_INT32 = BY_NAME["int32"]
