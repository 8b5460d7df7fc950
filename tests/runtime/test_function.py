"""A part of a graph as a function: the gate comes before all checks of the fed values."""

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph
from ckpttool.runtime.function import GraphFunction
from tests.hostile_models import calling, function, graph


def acting(op: str) -> Graph:
    """A graph that acts in a branch, whose predicate is not fed, nor is its input."""
    call = calling("If", then_branch="body", else_branch="other")
    call.input.append("chooses")
    functions = (function("body", NodeDef(name="act", op=op)), function("other", NodeDef(name="x", op="NoOp")))
    return Graph(graph(NodeDef(name="chooses", op="Placeholder"), call, functions=functions), "model.meta")


@pytest.mark.parametrize("op", ["DatasetFromGraph", "WriteFile", "PyFunc", "DatasetToSingleElement"])
def test_a_graph_that_acts_is_refused_before_what_it_lacks(op: str) -> None:
    with pytest.raises(GraphError, match=rf"act \({op}\) in the function body can have side effects"):
        GraphFunction(acting(op), ["output"])


def test_what_a_graph_lacks_is_said_of_one_that_only_computes() -> None:
    with pytest.raises(GraphError, match=r"model.meta: nothing feeds X, chooses: no role of `inputs`"):
        GraphFunction(acting("NoOp"), ["output"])
