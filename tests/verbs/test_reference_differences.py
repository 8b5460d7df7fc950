"""Differences of numbers, and the parts of a reference that fit a graph, without running one."""

from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import DataError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.verbs.reference import difference, feeds_and_outputs


def apart(expected: Any, computed: Any, tolerance: float = 0.25) -> tuple[float, float, bool]:
    found = difference(
        Tensor.of("w", np.asarray(expected, np.float32)), "w:0", np.asarray(computed, np.float32), tolerance
    )
    assert (found.name, found.tensor, found.as_json()["shape"]) == ("w", "w:0", list(np.shape(computed)))
    return found.max_abs, found.relative, found.equal


def test_the_largest_difference_and_that_by_the_largest_number() -> None:
    assert apart([1, -4], [1, -4]) == (0, 0, True)
    assert apart([1, -4], [2, -4]) == (1, 0.25, True)
    assert apart([1, -4], [1, -2]) == (2, 0.5, False)
    assert apart([0, 0], [0, 0.25]) == (0.25, 0.25, True)
    assert apart([], []) == (0, 0, True)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_is_not_equal(number: float) -> None:
    assert not apart([1, 2], [1, number])[2]
    assert not apart([1, number], [1, 2], np.inf)[2]
    with np.errstate(invalid="ignore"):
        assert not apart([1, number], [1, number], np.inf)[2]


def test_channels_may_come_first() -> None:
    last = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert apart(np.moveaxis(last, -1, 1), last) == (0, 0, True)
    sequence = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert apart(np.moveaxis(sequence, -1, 1), sequence) == (0, 0, True)
    same = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    assert apart(same, same) == (0, 0, True)
    for expected, computed in (((3, 2), (2, 3)), ((2, 4, 3), (2, 4, 3, 1)), ((2, 3, 4), (2, 3, 5)), ((6,), (2, 3))):
        with pytest.raises(DataError, match=rf"the reference's w is \[{', '.join(map(str, expected))}\], w:0 is"):
            apart(np.zeros(expected), np.zeros(computed))


@pytest.fixture
def graph() -> Graph:
    """Placeholders of rows, of a rate without a shape, and an unused one; and ops of them."""
    meta = MetaGraphDef()
    nodes = meta.graph_def.node

    def add(name: str, op: str, dtype: int = 1, inputs: tuple[str, ...] = (), shape: list[int] | None = None) -> None:
        node = nodes.add(name=name, op=op, input=inputs)
        node.attr["dtype" if op == "Placeholder" else "T"].type = dtype
        if op == "Placeholder" and shape is None:
            node.attr["shape"].shape.unknown_rank = True
        for size in shape or ():
            node.attr["shape" if op == "Placeholder" else "_output_shapes"].shape.dim.add(size=size)
        if op != "Placeholder":
            del node.attr["_output_shapes"]
            for size in shape or ():
                given = node.attr["_output_shapes"].list.shape
                (given[0] if given else given.add()).dim.add(size=size)

    add("X", "Placeholder", shape=[-1, 3])
    add("rate", "Placeholder")
    add("unused", "Placeholder", shape=[-1, 9])
    add("images", "Placeholder", shape=[-1, 4, 5, 2])
    add("relu", "Relu", inputs=("X",), shape=[-1, 3])
    add("scaled", "Mul", inputs=("relu", "rate"), shape=[-1, 3])
    add("steps", "Placeholder", shape=[-1, 6, 2])
    add("sequence", "Identity", inputs=("steps",), shape=[-1, 6, 2])
    add("maps", "Identity", inputs=("images",), shape=[-1, 4, 5, 2])
    return Graph(meta, "g.meta")


def of(graph: Graph, **shapes: Any) -> tuple[dict[str, str], dict[str, str]]:
    arrays = {
        name: each if isinstance(each, np.ndarray) else np.zeros(each, np.float32) for name, each in shapes.items()
    }
    return feeds_and_outputs(graph, Checkpoint.of(arrays))


def test_placeholders_are_fed_and_others_are_compared_in_the_order_of_the_graph(graph: Graph) -> None:
    assert of(graph, scaled=(2, 3), relu=(2, 3), X=(2, 3), rate=()) == (
        {"X": "X", "rate": "rate"},
        {"relu": "relu:0", "scaled": "scaled:0"},
    )
    assert of(graph, relu=(2, 3), X=(2, 3), unused=(1, 1))[0] == {"X": "X", "unused": "unused"}


def test_channels_of_what_is_compared_may_come_first(graph: Graph) -> None:
    for shape in ((3, 4, 5, 2), (3, 2, 4, 5)):
        assert of(graph, images=(3, 4, 5, 2), maps=shape)[1] == {"maps": "maps:0"}
    for shape in ((3, 6, 2), (3, 2, 6)):
        assert of(graph, steps=(3, 6, 2), sequence=shape)[1] == {"sequence": "sequence:0"}
    with pytest.raises(DataError, match=r"the reference's maps is \[3, 5, 2, 4\], maps:0 is \[any, 4, 5, 2\]"):
        of(graph, images=(3, 4, 5, 2), maps=(3, 5, 2, 4))


@pytest.mark.parametrize(
    ("reference", "error", "says"),
    [
        ({"X": (2, 3)}, DataError, "the reference has X: expected rows under a placeholder's name"),
        ({"relu": (2, 3)}, DataError, "the reference has relu: expected rows"),
        ({}, DataError, "the reference has nothing: expected rows"),
        ({"X": (2, 3), "relu": (0, 3)}, DataError, r"the reference's relu is \[0, 3\]: nothing to compare"),
        ({"X": (0, 3), "relu": (2, 3)}, DataError, r"the reference's X is \[0, 3\]: nothing to compare"),
        ({"X": (2, 3), "reluu": (2, 3)}, UnknownName, "the reference's reluu is not a placeholder, layer or op.*relu"),
        (
            {"X": (2, 4), "relu": (2, 3)},
            DataError,
            r"the reference's X is float32 \[2, 4\], X:0 takes float32 \[any, 3\]",
        ),
        (
            {"images": (3, 2, 4, 5), "maps": (3, 4, 5, 2)},
            DataError,
            r"takes float32 \[any, 4, 5, 2\]; channels come last in TensorFlow: save images.transpose\(0, 2, 3, 1\)$",
        ),
        ({"images": (3, 2, 5, 4), "maps": (3, 4, 5, 2)}, DataError, r"images:0 takes float32 \[any, 4, 5, 2\]$"),
        (
            {"X": np.zeros((2, 3)), "relu": (2, 3)},
            DataError,
            r"the reference's X is float64 \[2, 3\], X:0 takes float32",
        ),
        ({"X": (2, 3), "rate": np.zeros(()), "scaled": (2, 3)}, DataError, "rate is float64 .*rate:0 takes float32$"),
        (
            {"X": (2, 3), "relu": np.full((2, 3), b"a", object)},
            DataError,
            "the reference's relu is text, expected numbers",
        ),
        ({"X": (2, 3), "relu": (2, 2)}, DataError, r"the reference's relu is \[2, 2\], relu:0 is \[any, 3\]"),
        ({"X": (2, 3), "relu": (3, 2)}, DataError, r"the reference's relu is \[3, 2\], relu:0 is \[any, 3\]"),
    ],
)
def test_what_does_not_fit(graph: Graph, reference: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        of(graph, **reference)


def test_numbers_are_compared_with_numbers_where_the_graph_says_what_its_ops_give(graph: Graph) -> None:
    of(graph, X=(2, 3), relu=np.zeros((2, 3), bool))
    op = graph.meta.meta_info_def.stripped_op_list.op.add(name="Relu")
    op.attr.add(name="T", type="type")
    op.input_arg.add(name="features", type_attr="T")
    op.output_arg.add(name="activations", type_attr="T")
    for dtype in (np.float64, np.int8):
        assert of(graph, X=(2, 3), relu=np.zeros((2, 3), dtype))[1] == {"relu": "relu:0"}
    with pytest.raises(DataError, match="the reference's relu is bool, relu:0 is float32"):
        of(graph, X=(2, 3), relu=np.zeros((2, 3), bool))
    graph.nodes["relu"].attr["T"].type = 10
    assert of(graph, X=(2, 3), relu=np.zeros((2, 3), bool))[1] == {"relu": "relu:0"}
    with pytest.raises(DataError, match="the reference's relu is float32, relu:0 is bool"):
        of(graph, X=(2, 3), relu=(2, 3))
