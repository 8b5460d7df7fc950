"""Properties of a graph are computed once: they are cached with the graph, and shared with graphs of the same ops."""

import weakref
from typing import Any

import pytest

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph, TensorRef, op_of
from ckpttool.graph.rewrite.draft import Draft


@pytest.fixture
def graph(new_network: Any) -> Graph:
    """A network with a batch norm in a conditional."""
    with new_network().building() as net:
        X, y, training = net.inputs()
        net.classify(net.batch_norm(net.dense(X, 3, "out", relu=False), training, "bn"), y)
    exported: Graph = net.export()
    return exported


def test_what_a_rewrite_leaves_alone_is_not_parsed_again(graph: Graph) -> None:
    before = {name: graph.inputs(name) for name in graph.nodes}
    draft = Draft(graph)
    draft.op("out/MatMul").input[0] = "Z"
    after = draft.sealed()
    assert [name for name in after.nodes if after.inputs(name) is not before[name]] == ["out/MatMul"]
    assert str(after.inputs("out/MatMul")[0]) == "Z:0"
    assert str(graph.inputs("out/MatMul")[0]) == "X:0"


def test_the_flow_is_kept_with_the_graph_and_does_not_keep_it(graph: Graph) -> None:
    other = graph.having(graph.nodes.values())
    flow, below, kept = Flow.of(other), other.ancestors("out/MatMul"), weakref.ref(other)
    assert Flow.of(other) is flow
    del other
    assert kept() is None
    assert set(flow.within(below).order) == {"X", "out/MatMul", "out/kernel", "out/kernel/read"}
    assert {name.split("/")[0] for name in flow.regions} == {"bn"}


@pytest.mark.parametrize("text", ["a:\u00b2", "a:" + "9" * 5000])
def test_a_name_that_ends_in_no_index(text):
    assert TensorRef.parse(text) == (text, 0)
    assert op_of(text) == text
