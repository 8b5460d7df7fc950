"""Models of Keras files: opened like any other, with their compiled loss."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.model.model import Model
from ckpttool.runtime.configure import keras as keras_on_tensorflow
from ckpttool.verbs.evaluate import evaluate
from tests.runtime.keras.networks import NETWORKS

keras = keras_on_tensorflow()


def network(activation: str | None) -> Any:
    return keras.Sequential([keras.Input((4,), name="rows"), keras.layers.Dense(3, activation, name="top")])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("logits", [True, False])
def test_a_compiled_model_is_judged_by_its_own_loss(suffix: str, logits: bool, tmp_path: Path) -> None:
    model = network(None if logits else "softmax")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metrics=["accuracy"])
    rows, labels = np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 3
    np.savez(tmp_path / "data.npz", x_test=rows, y_test=labels)
    model.save(tmp_path / f"net{suffix}")

    scores = evaluate(Model.open(tmp_path / f"net{suffix}"), tmp_path / "data.npz")

    np.testing.assert_allclose([scores.loss, scores.accuracy], model.evaluate(rows, labels, verbose=0), rtol=1e-5)


def test_a_file_of_weights_alone_is_no_model(tmp_path: Path) -> None:
    network(None).save_weights(tmp_path / "net.weights.h5")

    with pytest.raises(FormatError, match=r"weights only, and no network: `import"):
        Model.open(tmp_path / "net.weights.h5")


def test_every_weight_of_a_model_is_read_by_its_name(tmp_path: Path) -> None:
    model = NETWORKS["nested"]()
    model.save(tmp_path / "net.keras")

    opened = Model.open(tmp_path / "net.keras")

    assert {name: tensor.shape for name, tensor in opened.checkpoint.items()} == {
        "inner/sequence/deep/kernel": (4, 4),
        "inner/sequence/deep/bias": (4,),
        **{name: tensor.shape for name, tensor in opened.checkpoint.items() if name.startswith("inner/sequence/dense")},
        "top/kernel": (4, 2),
        "top/bias": (2,),
    }
    np.testing.assert_array_equal(opened.checkpoint["top/kernel"].read(), model.get_layer("top").kernel)


def test_a_layer_that_its_config_builds_otherwise_is_refused(tmp_path: Path) -> None:
    network(None).save(tmp_path / "net.keras")
    with ZipFile(tmp_path / "net.keras") as archive, ZipFile(tmp_path / "hostile.keras", "w") as hostile:
        for name in archive.namelist():
            text = archive.read(name)
            if name == "config.json":
                config = json.loads(text)
                config["config"]["layers"][1]["build_config"] = {"class_name": "__bytes__", "config": {"value": "x"}}
                text = json.dumps(config).encode()
            hostile.writestr(name, text)

    with pytest.raises(FormatError, match=r"hostile\.keras: Keras cannot build it"):
        Model.open(tmp_path / "hostile.keras")
