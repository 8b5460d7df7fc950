import pytest

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.layers import Layer, layers
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load

DENSE = [
    Layer("hidden1", ("hidden1/kernel", "hidden1/bias"), 45, "dnn/hidden1/Relu:0"),
    Layer("hidden2", ("hidden2/kernel", "hidden2/bias"), 24, "dnn/hidden2/Relu:0"),
    Layer("outputs", ("outputs/kernel", "outputs/bias"), 15, "dnn/outputs/BiasAdd:0"),
]


@pytest.mark.parametrize("name", ["chapter", "adam", "resource", "partitioned", "one_part"])
def test_layers_come_in_data_flow_order_with_what_they_give(graph, name):
    assert layers(graph(name)) == DENSE


def test_the_order_is_that_of_the_data_and_not_of_the_file(graph):
    meta = MetaGraphDef()
    meta.CopyFrom(graph("chapter").meta)
    nodes = list(reversed(meta.graph_def.node))
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(nodes)

    assert [layer.name for layer in layers(Graph(meta))] == ["hidden1", "hidden2", "outputs"]


def test_a_second_head_is_a_layer_beside_the_first(graph):
    found = {layer.name: layer.output for layer in layers(graph("second_head"))}

    assert found["hidden2"] == "dnn/hidden2/Relu:0"
    assert found["new_outputs"] == "new_dnn/new_outputs/BiasAdd:0"


def test_batch_normalisation_ends_in_its_own_scope_and_the_root_activation_belongs_to_no_layer(graph):
    found = {layer.name: (layer.parameters, layer.output) for layer in layers(graph("normalised"))}

    assert found == {
        "hidden1": (45, "hidden1/BiasAdd:0"),
        "bn1": (20, "bn1/batchnorm/add_1:0"),
        "outputs": (18, "outputs/BiasAdd:0"),
        "bn2": (12, "bn2/batchnorm/add_1:0"),
    }


def test_variables_without_a_scope_are_layers_of_their_own(graph):
    assert layers(graph("regression")) == [
        Layer("W", ("W",), 2, "product:0"),
        Layer("b", ("b",), 1, "prediction:0"),
    ]


def test_a_layer_in_a_loop_ends_after_the_loop(graph):
    assert [(layer.name, layer.output) for layer in layers(graph("recurrent"))] == [
        ("rnn/cell", "rnn/last:0"),
        ("outputs", "outputs/BiasAdd:0"),
    ]


def test_a_frozen_graph_has_the_layers_of_its_constants(metas, tmp_path):
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default() as made, tf1.Session() as session:
        tf1.train.import_meta_graph(str(metas / "chapter.meta"))
        session.run(tf1.global_variables_initializer())
        kept = tf1.graph_util.extract_sub_graph(made.as_graph_def(), ["dnn/outputs/BiasAdd"])
        frozen = tf1.graph_util.convert_variables_to_constants(session, kept, ["dnn/outputs/BiasAdd"])
    (tmp_path / "frozen.pb").write_bytes(frozen.SerializeToString())

    found = layers(load(tmp_path / "frozen.pb"))

    assert [(layer.name, layer.parameters, layer.output) for layer in found] == [
        (layer.name, layer.parameters, layer.output) for layer in DENSE
    ]


def test_a_tensorflow_2_model_has_layers_without_outputs(tmp_path):
    import tensorflow as tf

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.ones([2, 3]), name="dense/kernel")

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, x):
            return tf.matmul(x, self.w)

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.__call__)

    assert layers(load(tmp_path / "model")) == [Layer("dense", ("dense/kernel",), 6, None)]


def test_a_graph_without_variables_has_no_layers():
    assert layers(Graph(MetaGraphDef())) == []
