"""Keras networks traced into graphs: their numbers in inference and training, their names, updated variables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ckpttool.core.errors import CorruptCheckpoint, GraphError, UnknownName
from ckpttool.model.model import Model
from ckpttool.runtime.keras import trace
from ckpttool.verbs.reuse import plan_reuse
from tests.runtime.keras.networks import NETWORKS, keras, layers, rows_for

tf1 = tf.compat.v1


def run(model: Model, fed: Mapping[str, Any], names: list[str], training: bool, then: list[str] = []) -> list[Any]:  # noqa: B006
    """Run a model's graph in a plain TensorFlow 1 session, with the model's values."""
    quick = tf1.ConfigProto()
    quick.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf1.Graph().as_default(), tf1.Session(config=quick) as session:
        tf1.train.import_meta_graph(tf1.MetaGraphDef.FromString(model.graph.meta.SerializeToString()))
        for variable in tf1.global_variables():
            variable.load(model.checkpoint[variable.op.name].read(), session)
        updates = tf1.get_collection("update_ops") if training else []
        given = {f"{name}:0": value for name, value in fed.items()} | {"training:0": training}
        outputs, _ = session.run([names, updates], given)
        return [*outputs, *(session.run(each) for each in tf1.global_variables() if each.op.name in then)]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_traced_network_gives_what_keras_gives(name: str, suffix: str, tmp_path: Path) -> None:
    network = NETWORKS[name]()
    network.save(tmp_path / f"net{suffix}")
    fed = rows_for(network)

    model = Model.open(tmp_path / f"net{suffix}")

    rows = [fed[each.name] for each in network.inputs]
    expected = keras.tree.flatten(network(rows if len(rows) > 1 else rows[0], training=False))
    outputs = model.graph.header.signature_def["serving_default"].outputs
    found = run(model, fed, [outputs[each].name for each in getattr(network, "output_names", ["drop"])], training=False)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_of_training_normalises_by_the_batch_moves_the_averages_and_adds_the_penalties(tmp_path: Path) -> None:
    network = NETWORKS["penalised"]()
    network.save(tmp_path / "net.keras")
    fed = rows_for(network)
    model = Model.open(tmp_path / "net.keras")
    variables = [variable.path for variable in network.variables]
    penalties = list(model.graph.collection("regularization_losses"))
    output = model.graph.header.signature_def["serving_default"].outputs["top"].name

    found = run(model, fed, [output, *penalties], True, variables)

    np.testing.assert_allclose(found[0], network(fed["rows"], training=True), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sum(found[1 : 1 + len(penalties)]), sum(network.losses), rtol=1e-6)
    for name, value in zip(variables, found[1 + len(penalties) :], strict=True):
        np.testing.assert_allclose(
            value, next(v for v in network.variables if v.path == name), rtol=1e-6, atol=1e-7, err_msg=name
        )


def test_dropout_draws_while_training_alone(tmp_path: Path) -> None:
    network = NETWORKS["dropping"]()
    network.save(tmp_path / "net.keras")
    model, fed = Model.open(tmp_path / "net.keras"), rows_for(network)
    output = model.graph.header.signature_def["serving_default"].outputs["drop"].name

    kept, dropped = (run(model, fed, [output], training)[0] for training in (False, True))

    np.testing.assert_array_equal(kept, network(fed["rows"]))
    assert 0.2 < np.mean(dropped == 0) < 0.8
    np.testing.assert_allclose(dropped[dropped != 0], 2 * kept[dropped != 0], rtol=1e-6)


def test_a_network_with_dropout_that_is_opened_twice_gives_the_same_graph(tmp_path: Path) -> None:
    """Workers compare the graph that they open with that of the requesting process."""
    net = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.5), layers.Dense(2)])
    net.save(tmp_path / "net.keras")
    first, second = (Model.open(tmp_path / "net.keras").graph.meta.graph_def for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_what_is_frozen_in_the_file_is_not_trained_nor_moved(tmp_path: Path) -> None:
    network = NETWORKS["penalised"]()
    network.get_layer("norm").trainable = False
    network.save(tmp_path / "net.keras")

    graph = Model.open(tmp_path / "net.keras").graph

    trained = [variable.name for variable in graph_variables(graph) if variable.trainable]
    assert trained == ["conv/kernel", "conv/bias", "top/kernel", "top/bias"]
    assert not graph.collection("update_ops")


def test_weights_have_the_names_that_the_file_gives_them(tmp_path: Path) -> None:
    network = NETWORKS["nested"]()
    network.save(tmp_path / "net.keras")

    model = Model.open(tmp_path / "net.keras")

    assert [variable.name for variable in graph_variables(model.graph)] == list(model.checkpoint)
    assert "inner/sequence/deep/kernel" in model.checkpoint


def graph_variables(graph: Any) -> Any:
    from ckpttool.graph.contents.variables import variables

    return list(variables(graph).values())


def test_fresh_values_follow_from_the_seed(tmp_path: Path) -> None:
    from ckpttool.runtime.state import fresh_tensors

    NETWORKS["penalised"]().save(tmp_path / "net.keras")
    graph = Model.open(tmp_path / "net.keras").graph

    one, same, other = (fresh_tensors(graph, ["conv/kernel"], seed)["conv/kernel"].read() for seed in (1, 1, 2))

    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0


def test_a_head_goes_above_a_layer_without_weights_that_is_named(tmp_path: Path) -> None:
    network = NETWORKS["convolutional"]()
    pooling = next(
        layer.name for layer in network.layers if "average_pooling2d" in layer.name and "global" in layer.name
    )
    network.save(tmp_path / "net.keras")
    model = Model.open(tmp_path / "net.keras")

    planned = plan_reuse(model, ".*", head="scores = dense(2)", after=pooling)

    assert [row.target for row in planned.rows][-2:] == ["scores/kernel", "scores/bias"]
    assert planned.rows[-2].shape == (10, 2)
    with pytest.raises(UnknownName, match="no layer pooling; nearest"):
        plan_reuse(model, ".*", head="scores = dense(2)", after="pooling")


def test_a_layer_that_has_tables_of_its_own_is_named_with_the_way_out(tmp_path: Path) -> None:
    words = layers.Input((1,), dtype="string")
    looked_up = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot", name="words")(words)
    keras.Model(words, layers.Dense(2)(looked_up)).save(tmp_path / "net.keras")

    with pytest.raises(GraphError, match=r"the layer words \(StringLookup\) cannot be traced .*; `model.export"):
        Model.open(tmp_path / "net.keras")


def test_a_network_for_batches_of_one_size_takes_any(tmp_path: Path) -> None:
    rows = layers.Input(batch_shape=(4, 3, 2), name="rows")
    network = keras.Model(rows, layers.SimpleRNN(2, name="rnn")(rows))
    network.save(tmp_path / "net.keras")
    given = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")

    model = Model.open(tmp_path / "net.keras")

    output = model.graph.header.signature_def["serving_default"].outputs["rnn"].name
    (one,) = run(model, {"rows": given[:1]}, [output], training=False)
    np.testing.assert_allclose(one, network(given)[:1], rtol=1e-6)


def test_an_error_of_the_tool_keeps_its_kind_and_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = layers.Input((3,))
    keras.Model(rows, layers.Dense(2)(rows)).save(tmp_path / "net.keras")

    def damaged(*_arguments: object) -> None:
        raise CorruptCheckpoint("net.keras: dense/kernel is damaged")

    monkeypatch.setattr(trace, "_plain", damaged)
    with pytest.raises(CorruptCheckpoint, match=r"^net\.keras: dense/kernel is damaged$"):
        Model.open(tmp_path / "net.keras")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built:UserWarning")
def test_a_network_without_inputs_cannot_be_traced(tmp_path: Path) -> None:
    keras.Sequential([], name="empty").save(tmp_path / "net.keras")

    with pytest.raises(GraphError, match=r"net\.keras: the network cannot be traced: .*'empty' has no defined inputs"):
        Model.open(tmp_path / "net.keras")
