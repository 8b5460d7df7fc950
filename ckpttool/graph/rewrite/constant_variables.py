"""Variables made constants: what reads a variable by its handle reads a constant instead."""

from collections.abc import Iterator, Mapping

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import FLOW
from ckpttool.graph.rewrite.constant_arguments import Functions
from ckpttool.graph.rewrite.constant_reads import READS, tensor_read
from ckpttool.graph.rewrite.editing import copy_of, type_attr

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
