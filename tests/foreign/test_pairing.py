"""Pairing a file with a graph if they have nothing in common."""

import difflib
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.pairing import pair_weights
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph


def graph_of(names: list[str]) -> Graph:
    meta = MetaGraphDef()
    for name in names:
        node = NodeDef(name=name, op="VariableV2")
        node.attr["dtype"].type = 1
        node.attr["shape"].shape.dim.add().size = 2
        meta.graph_def.node.append(node)
    return Graph(meta, "graph.meta")


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were compared with all others to find the nearest."""
    found: list[str] = []

    def get_close_matches(word: str, *rest: Any, **options: Any) -> list[str]:
        found.append(word)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", get_close_matches)
    return found


def test_the_nearest_names_are_looked_for_only_where_they_are_said(compared: list[str]) -> None:
    tensors = {f"a/{number}": Tensor.of(f"a/{number}", np.zeros(2, np.float32)) for number in range(100)}
    graph = graph_of([f"b/{number}" for number in range(100)])
    with pytest.raises(PlanError, match=r"a/0 is not a variable of graph.meta \(and 199 more\); `lenient`"):
        pair_weights(Checkpoint(tensors), graph)
    assert compared == [f"a/{number}" for number in range(10)]


def test_what_is_left_out_is_all_named_and_the_first_of_it_with_the_nearest(compared: list[str]) -> None:
    names = ["same", *(f"a/{number}" for number in range(100))]
    tensors = {name: Tensor.of(name, np.zeros(2, np.float32)) for name in names}
    paired = pair_weights(Checkpoint(tensors), graph_of(["same"]), lenient=True)
    assert paired.left_out == tuple(f"the weights: {name} is not a variable of graph.meta" for name in names[1:])
    assert compared == names[1:11]
