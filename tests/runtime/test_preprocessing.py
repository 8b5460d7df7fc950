"""Preprocessing in the graph: raw rows have the results of NumPy's steps, for images of any size."""

from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import PlanError
from ckpttool.data.preprocessing import Preprocessing, applied
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.preprocessing import with_preprocessing_ops
from ckpttool.runtime.state import State

RANDOM = np.random.default_rng(0)


def identity(shape: list[int | None] | None, dtype: str = "float32") -> Graph:
    """A graph that returns its input."""
    import tensorflow as tf

    with tf.Graph().as_default():
        tf.identity(tf.compat.v1.placeholder(dtype, shape, name="in/X"), name="Y")
        raw = tf.compat.v1.train.export_meta_graph().SerializeToString()
    return Graph(MetaGraphDef.FromString(raw), "network")


def run(graph: Graph, rows: Any) -> Any:
    (found,) = runner(GraphFunction(graph, ["Y:0"], ["in/X:0"]), State([], {}), {})({"in/X:0": rows})
    return found


@pytest.mark.parametrize(
    ("steps", "shape", "row", "dtype"),
    [
        ("scale(1/127.5, -1)", [8, 8, 3], (8, 8, 3), "uint8"),
        ("keras(caffe)", [8, 8, 3], (8, 8, 3), "uint8"),
        ("keras(torch)", [3, 8, 8], (3, 8, 8), "uint8"),
        ("scale(1/255); standardize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])", [None, None, 3], (5, 7, 3), "uint8"),
        ("resize(6, 5); keras(tf)", [6, 5, 3], (9, 13, 3), "uint8"),
        ("resize(6, 5, crop=center, method=bicubic)", [6, 5, 3], (9, 13, 3), "uint8"),
        ("resize(6, antialias=True)", [6, 6, 1], (20, 9, 1), "uint8"),
        ("resize(6, method=nearest); scale(2)", [3, 6, 6], (3, 9, 5), "float32"),
        ("resize(6, method=area)", [36], (9, 5), "uint8"),
        ("resize(7, 6, method=lanczos3); grayscale(); scale(1/255)", [7, 6, 1], (9, 5, 3), "uint8"),
        ("rgb(); bgr()", [4, 4, 3], (4, 4, 1), "uint8"),
        ("rgb(); bgr()", [4, 4, 3], (4, 4, 4), "uint8"),
        ("scale(1/255)", [784], (784,), "uint8"),
        ("standardize([40, 3], std=[9, 2]); scale([1, 3], [4, 0])", [2], (2,), "float32"),
        ("one_hot(7)", [7], (), "int64"),
        ("one_hot(7); scale(2)", [3, 7], (3,), "int64"),
        ("none", [4, 4, 3], (4, 4, 3), "uint8"),
    ],
)
def test_raw_rows_give_what_the_steps_give(
    steps: str, shape: list[int | None], row: tuple[int, ...], dtype: str
) -> None:
    done = Preprocessing.parse(steps).steps
    graph, notes = with_preprocessing_ops(identity([None, *shape]), {"in/X": done})
    assert notes and notes[0].startswith(f"in/X takes raw rows, {dtype}")
    assert dtype_of_output(graph, TensorRef("in/X", 0)) is BY_NAME[dtype]
    rows = RANDOM.integers(0, 7 if "one_hot" in steps else 256, (3, *row)).astype(dtype)
    expected = applied(done, rows.astype(np.float32))
    found = run(graph, rows)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-4)
    wanted = known_shape(shape_of_output(graph, TensorRef("in/X", 0)))
    assert wanted is not None and len(wanted) == rows.ndim


def test_inputs_of_whole_numbers_stay_so() -> None:
    rows = RANDOM.integers(0, 256, (2, 9, 7, 3)).astype(np.uint8)
    steps = Preprocessing.parse("resize(4)").steps
    graph, _ = with_preprocessing_ops(identity([None, 4, 4, 3], "uint8"), {"in/X": steps})
    found = run(graph, rows)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, applied(steps, rows.astype(np.float32)), atol=0.501)


def test_what_cannot_be_put_into_a_graph_is_refused() -> None:
    steps = {"in/X": Preprocessing.parse("resize(4)").steps}
    with pytest.raises(PlanError, match=r"in/X takes rows of \[10\], which are not images"):
        with_preprocessing_ops(identity([None, 10]), steps)
    with pytest.raises(PlanError, match="the shape of in/X is not known"):
        with_preprocessing_ops(identity(None), steps)
