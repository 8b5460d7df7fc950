"""Depths: places where all data is in one tensor; found by data flow, whatever the layers' names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.resolve import certain_roles
from ckpttool.model.model import Model
from ckpttool.searching.depths import Depth, depths

FIXTURE = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def layers_at(found: list[Depth]) -> list[tuple[str, ...]]:
    assert [depth.number for depth in found] == list(range(len(found)))
    return [depth.layers for depth in found]


Build = Callable[[Any, Any, Any], Any]


@pytest.fixture
def built(new_network: type[Any]) -> Callable[[Build], Graph]:
    """Return a function that makes a graph from one that builds from the network, X and `training` up to the logits."""

    def make(build: Build) -> Graph:
        network = new_network()
        with network.building():
            X, y, training = network.inputs()
            network.classify(build(network, X, training), y)
        graph: Graph = network.export()
        return graph

    return make


def test_the_chapters_network_has_its_input_and_a_depth_for_each_hidden_layer() -> None:
    found = depths(Model.open(FIXTURE).graph, ["X:0"])
    assert found[0] == Depth(0, (), "X:0")
    assert layers_at(found)[1:] == [(f"hidden{number}",) for number in range(1, 6)]
    assert found[2].tensor == "dnn/hidden2/Relu:0"


def test_a_normalisation_and_a_dropout_belong_to_the_layer_before_them(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        hidden = network.tf.nn.relu(network.batch_norm(network.dense(X, 8, "first", relu=False), training, "bn"))
        return network.dense(network.dropout(hidden, training, "drop"), 3, "outputs", relu=False)

    found = depths(built(build), ["X:0"])
    assert layers_at(found) == [(), ("first", "bn")]
    assert found[1].tensor.startswith("drop/")


def test_a_normalisation_of_the_input_belongs_to_the_first_layer(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        hidden = network.dense(network.batch_norm(X, training, "bn"), 8, "first")
        return network.dense(hidden, 3, "outputs", relu=False)

    assert layers_at(depths(built(build), ["X:0"])) == [(), ("bn", "first")]


def test_what_goes_past_some_layers_makes_them_one_block(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        stem = network.dense(X, 8, "stem")
        block = network.dense(network.dense(stem, 6, "narrow"), 8, "wide", relu=False)
        return network.dense(network.tf.add(stem, block, name="joined"), 3, "outputs", relu=False)

    found = depths(built(build), ["X:0"])
    assert layers_at(found) == [(), ("stem",), ("narrow", "wide")]
    assert found[2].tensor == "joined:0"


def test_an_input_that_is_used_once_more_later_is_no_depth_before(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        deep = network.dense(network.dense(X, 8, "first"), 6, "second")
        beside = network.dense(X, 6, "beside")
        return network.dense(network.dense(deep + beside, 5, "above"), 3, "outputs", relu=False)

    assert layers_at(depths(built(build), ["X:0"])) == [(), ("first", "second", "beside"), ("above",)]


def test_where_data_never_passes_in_one_tensor_layers_are_taken_one_by_one(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        deep = network.dense(network.dense(X, 8, "first"), 6, "second")
        wide = network.dense(X, 3, "wide", relu=False)
        return network.tf.add(network.dense(deep, 3, "outputs", relu=False), wide)

    assert layers_at(depths(built(build), ["X:0"]))[:3] == [(), ("first",), ("second",)]


def test_a_padded_tensor_is_meant_without_its_padding(built: Callable[[Build], Graph]) -> None:
    def build(network: Any, X: Any, training: Any) -> Any:
        tf = network.tf
        hidden = network.dense(X, 9, "first")
        image = tf.pad(tf.reshape(hidden, [-1, 3, 3, 1]), [[0, 0], [1, 1], [1, 1], [0, 0]])
        with network.v1.variable_scope("conv"):
            maps = tf.nn.relu(tf.nn.conv2d(image, network.variable("kernel", [3, 3, 1, 4]), 1, "VALID"))
        return network.dense(tf.reshape(maps, [-1, 36]), 3, "outputs", relu=False)

    found = depths(built(build), ["X:0"])
    assert layers_at(found) == [(), ("first",), ("conv",)]
    assert "Reshape" in found[1].tensor


def test_a_model_without_layers_is_refused(new_network: type[Any]) -> None:
    network = new_network()
    with network.building():
        X, _, _ = network.inputs()
        network.tf.nn.softmax(X, name="probabilities")
    with pytest.raises(GraphError, match="no layer is known between the inputs X:0 and"):
        depths(network.export(), ["X:0"])


def test_a_network_of_keras_is_cut_where_a_layer_of_keras_ends(tmp_path: Path) -> None:
    import keras

    words = keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(20, 6, name="words")(words)
    x = keras.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    x = keras.layers.Add(name="add")([x, keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)])
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    keras.Model(words, keras.layers.Dense(3, activation="softmax", name="top")(x)).save(tmp_path / "model.keras")
    graph = Model.open(tmp_path / "model.keras").graph
    found = depths(graph, certain_roles(graph).inputs)
    assert [names[-1].partition("/")[0] for names in layers_at(found)[1:]] == ["words", "lstm", "attention"]
    network = keras_network(graph)
    assert network is not None
    assert [network.calls[depth.tensor][0][0] for depth in found[1:]] == ["words", "lstm", "pool"]
