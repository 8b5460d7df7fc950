"""A Keras reference for a graph with imported weights: equal, or different from some layer on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.checkpoint import open as open_checkpoint
from ckpttool.core.errors import DataError, UnknownName
from ckpttool.core.tensors import Array
from ckpttool.graph import files
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.new import new
from ckpttool.verbs.reference import compare

LAYERS = """conv1 = conv2d(4, 3, relu); flat = flatten(); fc1 = dense(6, relu)
fc2 = dense(6, relu); outputs = dense(3)"""


@pytest.fixture(scope="module")
def keras_model() -> Any:
    import keras

    layers = keras.layers
    inner = [layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1"), layers.Flatten()]
    inner += [layers.Dense(6, activation="relu", name=name) for name in ("fc1", "fc2")]
    return keras.Sequential([keras.Input((5, 5, 2)), *inner, layers.Dense(3, name="outputs")])


@pytest.fixture(scope="module")
def values(keras_model: Any) -> dict[str, Array]:
    named = {"bias": np.float32(0.3), "kernel": 0}
    found = {f"{layer.name}/{w.name}": w.numpy() for layer in keras_model.layers for w in layer.weights}
    return {name: array + named[name.rpartition("/")[2]] for name, array in found.items()}


@pytest.fixture(scope="module")
def reference(keras_model: Any, values: dict[str, Array]) -> dict[str, Array]:
    import keras

    for layer in keras_model.layers:
        layer.set_weights([values[f"{layer.name}/{weight.name}"] for weight in layer.weights])
    outputs = {name: keras_model.get_layer(name).output for name in ("conv1", "fc1", "fc2", "outputs")}
    rows = np.random.default_rng(0).normal(size=(4, 5, 5, 2)).astype(np.float32)
    computed = keras.Model(keras_model.inputs[0], outputs)(rows)
    return {"X": rows, **{name: array.numpy() for name, array in computed.items()}}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("fresh") / "fresh.ckpt"
    new([5, 5, 2], LAYERS, path, recipe=Recipe())
    return files.load(path)


def test_a_network_computes_what_it_did_in_keras(graph: Any, values: Any, reference: Any) -> None:
    found = compare(graph, Checkpoint.of(values), Checkpoint.of(reference))
    assert [(row.name, row.equal, row.shape) for row in found] == [
        ("conv1", True, (4, 5, 5, 4)),
        ("fc1", True, (4, 6)),
        ("fc2", True, (4, 6)),
        ("outputs", True, (4, 3)),
    ]
    assert all(row.relative < 1e-6 for row in found)


def test_a_transposed_matrix_is_where_it_goes_wrong(graph: Any, values: Any, reference: Any) -> None:
    wrong = values | {"fc2/kernel": values["fc2/kernel"].T}
    found = compare(graph, Checkpoint.of(wrong), Checkpoint.of(reference))
    assert [row.name for row in found if not row.equal] == ["fc2", "outputs"]
    expected = np.maximum(reference["fc1"] @ wrong["fc2/kernel"] + values["fc2/bias"], 0) - reference["fc2"]
    assert found[2].max_abs == pytest.approx(np.abs(expected).max(), rel=1e-5)
    assert found[2].relative == pytest.approx(np.abs(expected).max() / np.abs(reference["fc2"]).max(), rel=1e-5)


def test_channels_may_come_first_and_names_may_be_those_of_tensors(graph: Any, values: Any, reference: Any) -> None:
    other = {
        "X:0": reference["X"],
        "dnn/conv1/Relu": np.moveaxis(reference["conv1"], -1, 1),
        "logits": reference["outputs"],
    }
    with pytest.raises(UnknownName, match="the reference's logits is not a placeholder, layer or op"):
        compare(graph, Checkpoint.of(values), Checkpoint.of(other))
    other["dnn/outputs/BiasAdd:0"] = other.pop("logits")
    found = compare(graph, Checkpoint.of(values), Checkpoint.of(other))
    assert [(row.tensor, row.equal) for row in found] == [
        ("dnn/conv1/Relu:0", True),
        ("dnn/outputs/BiasAdd:0", True),
    ]


@pytest.mark.parametrize("kept", [["X"], ["fc1"], []])
def test_a_sample_needs_rows_and_something_to_compare(graph: Any, values: Any, reference: Any, kept: list[str]) -> None:
    with pytest.raises(DataError, match=r"expected rows under a placeholder's name \(X:0\)"):
        compare(graph, Checkpoint.of(values), Checkpoint.of({name: reference[name] for name in kept}))


def test_an_array_of_another_shape_is_named(graph: Any, values: Any, reference: Any) -> None:
    with pytest.raises(DataError, match=r"the reference's fc1 is \[4, 5\], dnn/fc1/Relu:0 is \[any, 6\]"):
        compare(graph, Checkpoint.of(values), Checkpoint.of(reference | {"fc1": reference["fc1"][:, :5]}))


def test_rows_too_few_are_told_when_the_graph_has_run(graph: Any, values: Any, reference: Any) -> None:
    with pytest.raises(DataError, match=r"the reference's fc1 is \[3, 6\], dnn/fc1/Relu:0 is \[4, 6\]"):
        compare(graph, Checkpoint.of(values), Checkpoint.of(reference | {"fc1": reference["fc1"][:3]}))


def test_numbers_that_are_none_are_not_equal(graph: Any, values: Any, reference: Any, tmp_path: Path) -> None:
    bad = values | {"outputs/bias": np.full(3, np.inf, np.float32)}
    assert not compare(graph, Checkpoint.of(bad), Checkpoint.of(reference))[-1].equal


def test_a_mode_of_training_that_no_row_is_given_for_is_off(new_network: Any, new_session: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        x, y, _ = net.inputs()
        training = net.v1.placeholder(net.tf.bool, [], name="is_training")
        logits = net.dense(net.batch_norm(net.dense(x, 5, "hidden"), training, "norm"), 3, "out", relu=False)
        net.classify(logits, y)
    path = net.save(tmp_path / "model.ckpt")
    rows = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    computed = new_session(path, path).run("out/BiasAdd:0", {"X:0": rows, "is_training:0": False})
    reference = {"X": rows, "out/BiasAdd": computed}
    (found,) = compare(files.load(path), open_checkpoint(path), Checkpoint.of(reference))
    assert found.equal
    for off in (False, True):
        given = Checkpoint.of({**reference, "is_training": np.array(off)})
        assert compare(files.load(path), open_checkpoint(path), given)[0].equal is not off
