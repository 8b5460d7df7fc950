"""Shapes inferred by TensorFlow, for a graph imported without being built in Python or run."""

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.runtime.shapes import inferred_shapes


@pytest.fixture(scope="module")
def graph() -> Graph:
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as built:
        series = tf1.placeholder("float32", [None, 28, 4], name="X")
        steps = tf1.reshape(series, [-1, 4], name="steps")
        weights = tf1.get_variable("w", [4, 3], use_resource=True)
        tf1.matmul(steps, weights, name="logits")
        tf1.identity(tf1.reshape(series, tf1.placeholder("int32", name="sizes")), name="free")
        tf1.fill(tf1.io.decode_raw(tf1.io.read_file("/etc/hostname"), "int32"), 0.0, name="read")
        meta = tf1.train.export_meta_graph(graph=built)
    return Graph(MetaGraphDef.FromString(meta.SerializeToString()))


def test_a_size_is_left_open_until_rows_are_fed(graph: Graph) -> None:
    assert inferred_shapes(graph, ["logits:0", "X:0"]) == [(None, 3), (None, 28, 4)]
    assert inferred_shapes(graph, ["logits:0"], {"X:0": (1, 28, 4)}) == [(28, 3)]


def test_what_is_not_known_is_not_told(graph: Graph) -> None:
    assert inferred_shapes(graph, ["free:0"], {"X:0": (1, 28, 4)}) == [None]


def test_a_graph_that_tensorflow_refuses_is_named(graph: Graph) -> None:
    with pytest.raises(GraphError, match=r"graph: TensorFlow refuses it: "):
        inferred_shapes(graph, ["logits:0"], {"X:0": (1, 3, 3)})


def test_no_file_is_read_by_asking(graph: Graph) -> None:
    with pytest.raises(GraphError, match="ReadFile"):
        inferred_shapes(graph, ["read:0"])
