"""`search --quick` from Python: depths of models of every family are scored on the rows of another task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import DataError, GraphError, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.searching import features as features_module
from ckpttool.searching.features import has_channels_first
from ckpttool.verbs.new import new
from ckpttool.verbs.search_quick import QuickSearch, search_quick

CONVOLUTIONAL = "conv1 = conv2d(4, 3, relu); pool1 = max_pool(2); conv2 = conv2d(6, 3, relu); outputs = dense(3)"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images of 8x8 in 4 classes, 5 to 8: a bright quarter each."""
    random = np.random.default_rng(1)
    y = random.integers(0, 4, 80)
    x = random.normal(size=(80, 8, 8, 1)).astype(np.float32) * 0.2
    for row, quarter in enumerate(y):
        x[row, (quarter // 2) * 4 :][:4, (quarter % 2) * 4 :][:, :4] += 1
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x_train=x, y_train=y + 5)
    return path


def numbers(found: QuickSearch) -> list[int]:
    return [each.features.depth.number for each in found.ranking.depths]


def test_depths_of_a_network_are_scored_for_other_classes(small: Path, data: Path) -> None:
    found = search_quick(Model.open(small), data)
    assert (found.rows, found.of_rows, found.kind) == (300, 300, "classes")
    assert numbers(found) == [0, 1, 2]
    assert [each.features.shape for each in found.ranking.depths] == [(4,), (8,), (6,)]
    assert sorted(each.rank for each in found.ranking.depths) == [1, 2, 3]
    assert found.ranking.best.expected > 0.95
    assert found.as_json()["best"] == found.ranking.best.features.depth.number


def test_features_are_those_of_a_session(small: Path, data: Path, new_session: Any) -> None:
    found = search_quick(Model.open(small), data).ranking.depths[2].features
    with np.load(data) as arrays:
        expected = new_session(small, small).run("dnn/hidden2/Elu:0", {"X:0": arrays["x_train"]})
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-5, atol=1e-6)


def test_space_is_pooled_and_the_input_is_not(images: Path, tmp_path: Path) -> None:
    new(
        [8, 8, 1],
        CONVOLUTIONAL.replace("outputs", "flat = flatten(); outputs"),
        tmp_path / "conv.ckpt",
        recipe=Recipe(),
    )
    found = search_quick(Model.open(tmp_path / "conv.ckpt"), images)
    facts = [(each.features.shape, each.features.width, each.features.pooled) for each in found.ranking.depths]
    assert facts == [((8, 8, 1), 64, False), ((4, 4, 4), 4, True), ((96,), 96, False)]


def test_more_rows_than_are_asked_for_are_drawn_by_class(small: Path, data: Path) -> None:
    found = search_quick(Model.open(small), data, rows=90)
    assert (found.rows, found.of_rows) == (90, 300)
    assert any("90 of 300 rows are scored, drawn by the seed 42" in note for note in found.notes)
    again = search_quick(Model.open(small), data, rows=90)
    assert again.as_json()["depths"] == found.as_json()["depths"]


def test_memory_bounds_the_rows(small: Path, data: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(features_module, "MEMORY", 4 * (4 + 8 + 6) * 50)
    assert search_quick(Model.open(small), data).rows == 50


def test_wide_vectors_are_folded_and_still_tell(images: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(features_module, "WIDEST", 32)
    new(
        [8, 8, 1],
        CONVOLUTIONAL.replace("outputs", "flat = flatten(); outputs"),
        tmp_path / "conv.ckpt",
        recipe=Recipe(),
    )
    found = search_quick(Model.open(tmp_path / "conv.ckpt"), images)
    first = found.ranking.depths[0]
    assert (first.features.folded, first.features.vectors.shape) == (True, (80, 32))
    assert first.expected > 0.9


@pytest.mark.parametrize("kind", ["batch_norm", "dropout"])
def test_layers_run_as_in_inference(kind: str, foreign: Callable[..., Path], data: Path) -> None:
    found = search_quick(Model.open(foreign(kind)), data)
    assert numbers(found) == [0, 1, 2]
    again = search_quick(Model.open(foreign(kind)), data)
    assert [each.expected for each in found.ranking.depths] == [each.expected for each in again.ranking.depths]


def test_models_without_labels_need_none(small: Path, data: Path, tmp_path: Path) -> None:
    """A frozen graph and a SavedModel, made by ckpttool's own verbs, which other tests compare with TensorFlow."""
    from ckpttool.verbs.export_saved_model import plan_saved_model
    from ckpttool.verbs.fold import plan_fold

    plan_fold(Model.open(small)).write(tmp_path / "frozen.pb")
    plan_saved_model(Model.open(small)).write(tmp_path / "saved")
    expected = [each.expected for each in search_quick(Model.open(small), data).ranking.depths]
    for path in ("frozen.pb", "saved"):
        found = search_quick(Model.open(tmp_path / path), data)
        assert [each.expected for each in found.ranking.depths] == pytest.approx(expected, abs=0.01), path


def test_a_network_of_keras(images: Path, tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="conv", use_bias=False),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, activation="softmax", name="old"),
        ]
    )
    network.save(tmp_path / "model.keras")
    found = search_quick(Model.open(tmp_path / "model.keras"), images)
    assert [each.features.depth.layers for each in found.ranking.depths] == [(), ("conv", "norm")]
    assert found.ranking.depths[1].features.shape == (4,)


def test_amounts_and_several_labels(small: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    np.savez(tmp_path / "amounts.npz", x_train=x, y_train=x[:, 0] * 2 + 0.5)
    np.savez(tmp_path / "labels.npz", x_train=x, y_train=(x[:, :3] > 0).astype(np.int64))
    amounts = search_quick(Model.open(small), tmp_path / "amounts.npz")
    assert (amounts.kind, amounts.reuse.objective, amounts.reuse.head) == ("amounts", "mse", "outputs = dense(1)")
    assert amounts.ranking.best.expected > 0.99
    labels = search_quick(Model.open(small), tmp_path / "labels.npz")
    assert (labels.kind, labels.reuse.objective, labels.reuse.head) == ("labels", "sigmoid", "outputs = dense(3)")


def test_rows_without_labels_are_refused(small: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((9, 4), np.float32))
    with pytest.raises(DataError, match="no array for y: expected y_train"):
        search_quick(Model.open(small), tmp_path / "rows.npz")


def test_one_row_is_too_few(small: Path, data: Path) -> None:
    with pytest.raises(PlanError, match="`rows` must be 2 or more, found 1"):
        search_quick(Model.open(small), data, rows=1)


def test_names_of_classes_are_labels(small: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "named.npz", x_train=x, y_train=np.where(x[:, 0] > 0, "cat", "dog"))
    found = search_quick(Model.open(small), tmp_path / "named.npz")
    assert (found.kind, found.reuse.head) == ("classes", "outputs = dense(2)")
    assert found.ranking.best.expected > 0.8


def test_a_feature_that_is_no_number_is_refused(small: Path, data: Path, tmp_path: Path) -> None:
    model = Model.open(small)
    values = {name: tensor.read() for name, tensor in model.checkpoint.items()}
    values["hidden2/bias"] = np.full_like(values["hidden2/bias"], np.nan)
    checkpoint.save(values, tmp_path / "broken.ckpt")
    broken = Model(small, model.graph, checkpoint.open(tmp_path / "broken.ckpt"))
    with pytest.raises(DataError, match="dnn/hidden2/Elu:0, behind hidden2, is not finite for row 0"):
        search_quick(broken, data)


def test_numbers_of_words_are_no_features(new_network: type[Any], tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        words = network.v1.placeholder(network.tf.int32, [None, 5], name="X")
        y = network.v1.placeholder(network.tf.int64, [None], name="y")
        with network.v1.variable_scope("embedding"):
            vectors = network.tf.gather(network.variable("table", [20, 6]), words)
        hidden = network.dense(network.tf.reduce_mean(vectors, 1), 4, "hidden")
        network.classify(network.dense(hidden, 3, "outputs", relu=False), y)
    random = np.random.default_rng(0)
    np.savez(tmp_path / "words.npz", x_train=random.integers(0, 20, (60, 5)), y_train=random.integers(0, 2, 60))
    found = search_quick(Model.open(network.save(tmp_path / "words.ckpt")), tmp_path / "words.npz")
    assert numbers(found) == [1, 2]
    assert any("depth 0 is skipped: X:0 takes numbers that stand for something else" in each for each in found.notes)


def test_a_model_of_one_layer_has_its_input_alone(data: Path, tmp_path: Path) -> None:
    new([4], "outputs = dense(3)", tmp_path / "one.ckpt", recipe=Recipe())
    found = search_quick(Model.open(tmp_path / "one.ckpt"), data)
    assert (numbers(found), found.reuse.layers, found.reuse.input_shape) == ([0], None, (4,))
    assert any("there is no layer below the output layer" in each for each in found.notes)


def test_channels_may_come_first(new_network: type[Any]) -> None:
    network = new_network()
    with network.building():
        image = network.v1.placeholder(network.tf.float32, [None, 1, 8, 8], name="X")
        kernel = network.variable("kernel", [3, 3, 1, 4])
        maps = network.tf.nn.conv2d(image, kernel, 1, "SAME", data_format="NCHW")
        network.tf.identity(network.tf.nn.relu(maps, name="maps"), name="other")
    graph = network.export()
    assert has_channels_first(graph, "maps:0")
    assert not has_channels_first(graph, "X:0")


def test_a_model_without_layers_is_refused(new_network: type[Any], data: Path) -> None:
    network = new_network()
    with network.building():
        X, _, _ = network.inputs()
        network.tf.nn.softmax(X, name="probabilities")
    with pytest.raises(GraphError, match="no layer is known between the inputs X:0"):
        search_quick(Model(Path("bare"), network.export(), checkpoint.Checkpoint.of({})), data)
