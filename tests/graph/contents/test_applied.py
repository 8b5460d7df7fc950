"""Optimizers' ops in functions: each is found once, however often its function is called, and in bounded time."""

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.applied import Applied, applied
from ckpttool.graph.core import Graph


def calling(levels: int, times: int, back: bool = False) -> Graph:
    """A variable passed through functions that each call the next `twice` times; the last one applies a step."""
    meta = MetaGraphDef()
    meta.graph_def.node.add(name="w", op="VarHandleOp")
    call = meta.graph_def.node.add(name="call", op="PartitionedCall", input=["w"])
    call.attr["f"].func.name = "f0"
    for level in range(levels):
        function = meta.graph_def.library.function.add()
        function.signature.name = f"f{level}"
        function.signature.input_arg.add(name="handle")
        for number in range(times if level + 1 < levels or back else 0):
            inner = function.node_def.add(name=f"c{number}", op="PartitionedCall", input=["handle"])
            for key in ("f", "g"):
                inner.attr[key].func.name = f"f{(level + 1) % levels}"
    function.node_def.add(name="step", op="ResourceApplyGradientDescent", input=["handle", "alpha", "delta"])
    return Graph(meta)


@pytest.mark.parametrize(("levels", "times", "back"), [(1, 1, False), (3, 2, False), (60, 3, False), (50, 2, True)])
def test_what_many_ways_lead_to_is_found_once(levels: int, times: int, back: bool) -> None:
    found = applied(calling(levels, times, back))
    assert found == (Applied("call", "GradientDescent", ("w", None, None)),)


def test_functions_without_end_are_refused() -> None:
    with pytest.raises(GraphError, match="functions call one another more than 150 levels deep"):
        applied(calling(2000, 1))
