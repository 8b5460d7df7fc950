"""`keras:NAME` models: the architecture's arguments that follow from a weights file, and Keras's own numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.model.model import Model
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.runtime.keras.build import SEED
from ckpttool.verbs.predict import predict

keras = keras_on_tensorflow()
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("uint8")


def saved_as_keras_2_does(model: Any, path: Path) -> None:
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def narrow(**arguments: Any) -> Any:
    keras.utils.set_random_seed(7)
    return keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(32, 32, 3), **arguments)


def weights_of(net: Any) -> dict[str, Any]:
    """Return the weights by their names, without the seeds of dropouts."""
    return {f"{layer.name}/{each.name}": each for layer in net.layers for each in layer.weights if each.name != SEED}


WAYS: dict[str, Callable[[Any, Path], None]] = {
    "net.weights.h5": lambda model, path: model.save_weights(path),
    "old.h5": saved_as_keras_2_does,
}


@pytest.mark.parametrize("name", WAYS)
def test_every_weight_is_found_in_what_keras_writes(name: str, tmp_path: Path) -> None:
    net = narrow(classes=7)
    WAYS[name](net, tmp_path / name)

    model = Model.open(f"keras:MobileNet(input_shape=32, weights='{tmp_path / name}')")

    network, weights = keras_network(model.graph), weights_of(net)
    assert network
    assert network.architecture["config"]["name"] == "mobilenet_0.25_32"  # alpha and the top follow from the weights
    assert set(model.checkpoint) == set(weights)
    for each, weight in weights.items():
        np.testing.assert_array_equal(model.checkpoint[each].read(), weight)


def test_images_are_predicted_as_keras_does_after_its_own_preprocessing(tmp_path: Path) -> None:
    net = narrow(classes=7)
    net.save_weights(tmp_path / "net.weights.h5")
    np.save(tmp_path / "images.npy", IMAGES)

    model = Model.open(f"keras:MobileNet(input_shape=32, weights='{tmp_path}/net.weights.h5')")
    predict(model, tmp_path / "images.npy", tmp_path / "out.npz")

    right = net(keras.applications.mobilenet.preprocess_input(IMAGES.astype("float32")))
    with np.load(tmp_path / "out.npz") as made:
        np.testing.assert_allclose(made["probabilities"], right, atol=1e-6)


def test_random_weights_are_asked_for_and_drawn_as_keras_s_initialisers_say(tmp_path: Path) -> None:
    small = "alpha=0.25, input_shape=32, classes=7"
    opened = Model.open(f"keras:MobileNet({small}, weights=None)")

    right, ours = narrow(classes=7), opened.checkpoint
    assert {name: each.shape for name, each in ours.items()} == {n: w.shape for n, w in weights_of(right).items()}
    kernel = ours["conv_preds/kernel"].read()
    assert np.abs(kernel).max() == pytest.approx(np.abs(right.get_layer("conv_preds").kernel).max(), rel=0.05)
    again = Model.open(f"keras:MobileNet({small}, weights='none')").checkpoint
    np.testing.assert_array_equal(again["conv_preds/kernel"].read(), kernel)


def test_weights_in_keras_s_cache_bring_the_names_of_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "models"
    folder.mkdir()
    saved_as_keras_2_does(narrow(), folder / "mobilenet_2_5_128_tf.h5")
    asked = "keras:MobileNet(alpha=0.25, input_shape=128)"

    assert class_names(Model.open(asked).graph) == ()

    index = {str(number): [f"n{number:08}", f"class {number}"] for number in range(1000)}
    (folder / "imagenet_class_index.json").write_text(json.dumps(index))
    graph = Model.open(asked).graph
    assert class_names(graph)[:2] == ("class 0", "class 1")
    assert preprocessing_text(graph) == "keras(tf)"


def test_weights_of_another_architecture_or_width_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.weights.h5"
    narrow(include_top=False).save_weights(file)

    with pytest.raises(
        FormatError, match=r"keras:VGG16: the architecture has weights that are missing in the file: block1"
    ):
        Model.open(f"keras:VGG16(weights='{file}')")
    with pytest.raises(FormatError, match=r"conv1/kernel is \[3, 3, 3, 8\], and .*\[3, 3, 3, 16\]"):
        Model.open(f"keras:MobileNet(alpha=0.5, input_shape=32, weights='{file}')")
    with pytest.raises(
        FormatError, match="the architecture has weights that are missing in the file: conv_preds/kernel"
    ):
        Model.open(f"keras:MobileNet(include_top=True, input_shape=32, weights='{file}')")


def test_a_top_that_is_not_asked_for_is_left_in_the_file(tmp_path: Path) -> None:
    narrow(classes=7).save_weights(tmp_path / "net.weights.h5")

    model = Model.open(f"keras:MobileNet(include_top=False, input_shape=32, weights='{tmp_path}/net.weights.h5')")

    assert list(model.unread) == ["conv_preds/kernel", "conv_preds/bias"]
    assert not [name for name in model.checkpoint if name.startswith("conv_preds")]
