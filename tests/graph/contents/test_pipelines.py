"""Input pipelines that are cut off where rows are fed: real ones, and graphs that only look like them."""

import pytest

from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.contents.pipelines import is_stream
from ckpttool.graph.core import Graph
from tests.hostile_models import FLOAT, calling, function, graph

ROW = (None, 4)


def element(*shape: int | None, source: str = "TensorDataset") -> list[NodeDef]:
    """Return the only element of a data set, or of a batch of it."""
    made = NodeDef(name="element", op="DatasetToSingleElement", input=["source"])
    made.attr["output_types"].list.type.append(FLOAT)
    size = made.attr["output_shapes"].list.shape.add()
    for each in shape:
        size.dim.add(size=-1 if each is None else each)
    return [NodeDef(name="source", op=source), made]


def chosen(*nodes: NodeDef, called: FunctionDef | None = None) -> Graph:
    """A conditional, one branch of which has these ops."""
    call = calling("If", then_branch="body", else_branch="other")
    functions = (function("body", *nodes), function("other", NodeDef(name="x", op="NoOp")))
    return Graph(graph(call, functions=(*functions, *([called] if called else []))))


def test_an_element_of_rows_brings_them_and_one_number_does_not() -> None:
    assert is_stream(Graph(graph(*element(*ROW))), "element")
    assert not is_stream(Graph(graph(*element())), "element")


def test_a_conditional_is_judged_by_what_its_branches_give() -> None:
    assert is_stream(chosen(*element(*ROW)), "call")
    assert not is_stream(chosen(*element()), "call")


@pytest.mark.parametrize("shape", [(), ROW])
def test_what_runs_a_graph_out_of_a_value_is_left_to_the_gate(shape: tuple[int | None, ...]) -> None:
    """If it were cut off as a pipeline, the gate could not report it."""
    hidden = element(*shape, source="DatasetFromGraph")
    inner = function("inner", *hidden)
    assert not is_stream(Graph(graph(*hidden)), "element")
    assert not is_stream(chosen(*hidden), "call")
    assert not is_stream(chosen(calling("PartitionedCall", f="inner"), *element(*ROW), called=inner), "call")
