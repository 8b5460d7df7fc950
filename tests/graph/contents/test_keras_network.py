"""The Keras network of a graph: it is cut and extended; if it cannot be cut it is lost, with a reason."""

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.keras.cutting import layer, layer_names, sequential
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.keras_network import KEY, KerasNetwork, keras_network, with_keras_network
from ckpttool.graph.core import Graph

NETWORK = KerasNetwork(
    sequential([layer("InputLayer", "x", batch_shape=[None, 3]), layer("Dense", "a", units=2), layer("ReLU", "b")]),
    {"a/BiasAdd:0": [("a", 0, 0)], "b/Relu:0": [("b", 0, 0)]},
    {"optimizer": {"class_name": "SGD"}},
    lacks={"optimizer": ["Keras lacks it"]},
)


def test_it_is_kept_in_a_collection() -> None:
    graph = with_keras_network(Graph(MetaGraphDef(), "graph"), NETWORK)
    assert keras_network(graph) == NETWORK
    assert keras_network(with_keras_network(graph, None)) is None


def test_one_that_cannot_be_read_is_an_error_that_names_the_collection() -> None:
    meta = MetaGraphDef()
    for text in (b"{", b"[]", b'{"calls": {"a:0": [1]}}', b'{"architecture": {}, "calls": {}, "other": 1}'):
        meta.collection_def[KEY].bytes_list.value[:] = [text]
        with pytest.raises(GraphError, match="the collection ckpttool/keras cannot be read"):
            keras_network(Graph(meta, "graph"))


def test_a_cut_leaves_what_it_was_compiled_with() -> None:
    cut = NETWORK.cut_after("a/BiasAdd:0")
    assert layer_names(cut.architecture) == ["x", "a"]
    assert (cut.calls, cut.compiled, cut.lacks) == ({"a/BiasAdd:0": (("a", 0, 0),)}, {}, {})


def test_a_network_is_lost_where_no_layer_gives_what_it_is_cut_after() -> None:
    cut = NETWORK.cut_after("a/MatMul:0")
    assert cut.lost == "it was cut after a/MatMul:0, which is not the output of a layer of Keras"
    assert cut.having_layers({"c": [layer("Dense", "c", units=2)]}, {"c": "c:0"}) == cut
    assert cut.cut_after("c:0").lost == cut.lost


def test_new_layers_have_names_that_keras_takes() -> None:
    new = {"b": [layer("Dense", "b", units=2)], "in/out": [layer("Dense", "in/out", units=2), layer("ReLU", "relu")]}
    put = NETWORK.having_layers(new, {"b": "b_1:0", "in/out": "in/out:0"})
    assert layer_names(put.architecture) == ["x", "a", "b", "b_1", "in_out", "relu"]
    assert put.renamed == {"b_1": "b", "in_out": "in/out"}
    assert put.calls["in/out:0"] == [("relu", 0, 0)]
