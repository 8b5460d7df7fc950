"""Large graphs: four times the layers take four times the work, counted in calls, for every property."""

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.moving_averages import with_moving_averages
from ckpttool.graph.freezing.updates import stop_gradient
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.roles.comparisons import comparisons
from ckpttool.graph.roles.resolve import certain_roles
from ckpttool.graph.roles.served import result_of
from ckpttool.runtime import spec

FLOAT = 1


def chain(count: int) -> Graph:
    """A chain of layers, each with a kernel, a moving average and its update, a difference to `y`, and an end."""
    nodes = [NodeDef(name=name, op="Placeholder") for name in ("X", "y")]
    for here in (f"h{number}" for number in range(count)):
        below = nodes[-1].input[0] if nodes[-1].input else "X"
        nodes += [
            NodeDef(name=f"{here}/kernel", op="VariableV2"),
            NodeDef(name=f"{here}/moving_mean", op="VariableV2"),
            NodeDef(name=f"{here}/Mul", op="Mul", input=[below, f"{here}/kernel"]),
            NodeDef(name=f"{here}/Sub", op="Sub", input=[f"{here}/Mul", "y"]),
            NodeDef(name=f"{here}/update", op="AssignSub", input=[f"{here}/moving_mean", f"{here}/Mul"]),
            NodeDef(name=f"{here}/end", op="Identity", input=[f"{here}/Mul"]),
        ]
    nodes.append(NodeDef(name="loss", op="AddN", input=[node.name for node in nodes if node.op == "Sub"]))
    variables = [node.name for node in nodes if node.op == "VariableV2"]
    nodes.append(NodeDef(name="save", op="SaveV2", input=["X", "X", "X", *variables]))
    meta = MetaGraphDef()
    for node in nodes:
        for key in ("dtype", "T"):
            node.attr[key].type = FLOAT
    meta.graph_def.node.extend(nodes)
    meta.collection_def["update_ops"].node_list.value[:] = [node.name for node in nodes if node.op == "AssignSub"]
    return Graph(meta)


def ends(graph: Graph) -> None:
    with contextlib.suppress(GraphError):  # several tensors are possible
        result_of(graph)


def calls(action: Callable[[Any], object], given: Any) -> int:
    """Return the number of calls of functions, Python's and built-in ones, during an action."""
    count = 0

    def event(frame: FrameType, kind: str, argument: Any) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(event)
    try:
        action(given)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "action",
    [
        layers,
        ends,
        to_resource,
        importable,
        certain_roles,
        lambda graph: comparisons(graph, "loss"),
        lambda graph: without_training(graph, ["loss"]),
        lambda graph: with_moving_averages(graph, ["h1/kernel"]),
        lambda graph: stop_gradient(graph, [f"{name}:0" for name in graph.nodes if name.endswith("/Mul")]),
    ],
)
def test_four_times_the_layers_are_four_times_the_work(action: Callable[[Graph], object]) -> None:
    action(chain(2))  # one-time setup
    assert calls(action, chain(400)) < 5 * calls(action, chain(100))


def test_layers_without_names_are_numbered_once() -> None:
    texts = ["; ".join(["dense(2)"] * count) for count in (2, 100, 400)]
    spec.parse(texts[0])
    assert calls(spec.parse, texts[2]) < 5 * calls(spec.parse, texts[1])


def test_roles_that_nobody_says_are_found_once() -> None:
    graph = chain(3)
    assert certain_roles(graph) is certain_roles(graph)
