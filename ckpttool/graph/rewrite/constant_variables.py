"""Variables made constants: what reads a variable by its handle reads a constant instead."""

from collections.abc import Iterator

import numpy as np

from ckpttool.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.constants import constant
from ckpttool.graph.graph import Graph
from ckpttool.graph.rewrite.editing import copies, free_name, type_attr, with_nodes
from ckpttool.tensors import BY_NAME

VARIABLE = "VarHandleOp"
_RESOURCE = 20
"""DT_RESOURCE."""
_FLOW = frozenset({"Switch", "Merge", "Enter", "Exit", "Identity", "NextIteration"})
_READS = {
    "ReadVariableOp": ("Identity", {"dtype": "T"}),
    "VariableShape": ("Shape", {"out_type": "out_type"}),
    "ResourceGather": ("GatherV2", {"dtype": "Tparams", "Tindices": "Tindices", "batch_dims": "batch_dims"}),
    "ResourceGatherNd": ("GatherNd", {"dtype": "Tparams", "Tindices": "Tindices"}),
}
"""The ops that read a resource variable: what does the same to a tensor, and how its attributes are called there."""


def constant_variables(graph: Graph) -> Graph:
    """Return a graph of resource variables whose variables are constants of the same names, still without values.

    Raises:
        GraphError: an op changes a variable, or is not known to only read it.
    """
    return Graph(with_nodes(graph, _Rewriter(graph).nodes()), graph.source)


class _Rewriter:
    """One rewriting: which variable each tensor is a handle of."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.handles: dict[str, str | None] = {}

    def nodes(self) -> Iterator[NodeDef]:
        """Yield the new nodes."""
        for name, node in copies(self.graph).items():
            inputs = self.graph.inputs(name)
            variable = self.variable(name) or next((v for ref in inputs if (v := self.variable(ref.op))), None)
            if variable is None:
                yield node
                continue
            node.ClearField("experimental_type")
            yield from self._rewritten(node, self.graph.nodes[variable])

    def variable(self, name: str) -> str | None:
        """Return the variable that an op gives the handle of, also through conditionals and loops."""
        if name not in self.handles:
            self.handles[name] = None  # a loop's way back comes here again
            node = self.graph.nodes[name]
            if node.op == VARIABLE:
                self.handles[name] = name
            elif node.op in _FLOW and node.attr["T"].type == _RESOURCE:
                sources = (self.variable(ref.op) for ref in self.graph.inputs(name))
                self.handles[name] = next((source for source in sources if source), None)
        return self.handles[name]

    def _rewritten(self, node: NodeDef, variable: NodeDef) -> Iterator[NodeDef]:
        """Yield what stands in for an op that is a variable, passes its handle on, or reads it."""
        if node.op == VARIABLE:
            yield _empty(node)
        elif node.op in _FLOW:
            node.attr["T"].CopyFrom(variable.attr["dtype"])
            yield node
        elif node.op == "VarIsInitializedOp":
            yield constant(node.name, np.array(True), BY_NAME["bool"])
        elif node.op in _READS:
            yield from self._read(node, variable)
        else:
            raise GraphError(
                f"{self.graph.source}: {node.name} ({node.op}) may change the variable {variable.name}, "
                f"which therefore cannot be a constant"
            )

    def _read(self, node: NodeDef, variable: NodeDef) -> Iterator[NodeDef]:
        """Yield an op that reads a tensor, and the axis where it needs one."""
        attributes = dict(node.attr.items())
        kind, kept = _READS[node.op]
        node.op = kind
        node.ClearField("attr")
        for old, new in kept.items():
            if old in attributes:
                node.attr[new].CopyFrom(attributes[old])
        if kind == "Shape":
            node.attr["T"].CopyFrom(variable.attr["dtype"])
        if kind == "GatherV2":
            axis = np.array(node.attr["batch_dims"].i, np.int32)
            yield constant(free_name(f"{node.name}/axis", self.graph.nodes), axis, BY_NAME["int32"])
            node.attr["Taxis"].CopyFrom(type_attr(BY_NAME["int32"].number))
            node.input.insert(2, f"{node.name}/axis")
        yield node


def _empty(variable: NodeDef) -> NodeDef:
    """Return a constant of a variable's name, dtype and shape that has no value yet."""
    node = NodeDef(name=variable.name, op="Const")
    node.attr["dtype"].CopyFrom(variable.attr["dtype"])
    tensor = node.attr["value"].tensor
    tensor.dtype = variable.attr["dtype"].type
    tensor.tensor_shape.CopyFrom(variable.attr["shape"].shape)
    return node
