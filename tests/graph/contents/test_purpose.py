"""The purpose of a graph without a loss, logits or signatures, in less than quadratic time."""

import time

import pytest

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.purpose import Purpose
from ckpttool.graph.core import Graph


def towers(count: int, joined: int = 0) -> Purpose:
    """Parallel layers, each with a step whose result is unused; some of them are joined."""
    meta = MetaGraphDef()
    nodes, names = meta.graph_def.node, [f"tower{number}" for number in range(count)]
    for name in names:
        nodes.add(name=name, op="VariableV2").attr["dtype"].type = 1
        nodes.add(name=f"{name}/step", op="Relu", input=[name])
    if joined:
        nodes.add(name="joined", op="ConcatV2", input=names[:joined])
    graph = Graph(meta)
    rank = {name: number for number, name in enumerate(graph.nodes)}
    return Purpose(graph, rank, {name: name for name in names})


def test_it_is_for_what_depends_on_most_layers_and_for_what_no_other_includes() -> None:
    assert towers(5, joined=3).ends == {"joined", "tower3/step", "tower4/step"}


@pytest.mark.parametrize("count", [300, 5000])
def test_of_very_many_towers_all_last_ops_count(count: int) -> None:
    assert towers(count).ends == {f"tower{number}/step" for number in range(count)}


def test_twenty_thousand_towers_take_no_time_of_their_square() -> None:
    purpose = towers(20_000)
    start = time.process_time()
    assert len(purpose.ends) == 20_000
    assert time.process_time() - start < 3
