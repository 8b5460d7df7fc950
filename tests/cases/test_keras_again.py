"""From a Keras file to a Keras file: cut, with a new head, trained here, trained by Keras, and here again."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint

Run = Callable[..., str]
HEAD = "flatten(); top = dense(6, leaky_relu(0.2)); dropout(0.2); outputs = dense(2)"


def make(folder: Path) -> None:
    """A nested network, compiled and trained briefly, and rows of two other classes."""
    import keras

    keras.utils.set_random_seed(3)
    L = keras.layers
    convolutions = [L.Conv2D(4, 3, activation="relu", name="conv1"), L.Conv2D(6, 3, name="conv2")]
    base = keras.Sequential([keras.Input((8, 8, 3)), *convolutions, L.BatchNormalization(name="bn1")], name="base")
    model = keras.Sequential([keras.Input((8, 8, 3)), base, L.Flatten(), L.Dense(3, activation="softmax", name="out")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(0)
    x, y = random.random((60, 8, 8, 3), np.float32), np.arange(60) % 2
    x[y == 1] += 0.3
    model.run_eagerly = True
    model.fit(x, y, verbose=0)
    model.save(folder / "model.keras")
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    (folder / "names.txt").write_text("cat\ndog\n")


def loaded(path: str) -> Any:
    import keras

    model = keras.models.load_model(path)
    model.run_eagerly = True
    return model


def rows() -> tuple[Any, Any]:
    with np.load("data.npz") as data:
        return data["x_test"], data["y_test"]


def answer(printed: str) -> Any:
    return json.loads(printed.splitlines()[-1])


def test_it_goes_round(folder: Path, run: Run) -> None:
    x, y = rows()
    told = "--classes names.txt --preprocess 'scale(2)' --optimizer momentum"
    run(f"ckpttool reuse model.keras --layers base --head '{HEAD}' --freeze base {told} -o new.keras")
    new, old = loaded("new.keras"), loaded("model.keras")
    assert [each.name for each in new.layers] == ["base", "flatten", "top", "top_leaky_relu", "dropout", "outputs"]
    assert [each.trainable for each in new.get_layer("base").layers] == [False] * 3
    np.testing.assert_array_equal(new.get_layer("base").predict(x, verbose=0), old.layers[0].predict(x, verbose=0))
    with zipfile.ZipFile("new.keras") as archive:
        kept = json.loads(archive.read("metadata.json"))["ckpttool"]
    assert kept == {"classes": ["cat", "dog"], "preprocess": "scale(2)", "head": ["top", "outputs"]}

    said = run(
        "ckpttool finetune new.keras --data data.npz --epochs 3 --optimizer 'adam(0.01)' --batch-size 10 -o tuned.keras"
    )
    assert "8 frozen tensors are byte-equal" in said
    tuned = loaded("tuned.keras")
    ours = answer(run("ckpttool evaluate tuned.keras --data data.npz --json"))
    assert tuned.evaluate(2 * x, y, verbose=0) == pytest.approx([ours["loss"], ours["accuracy"]], rel=1e-5)
    assert tuned.optimizer.iterations.numpy() > 0
    assert np.abs(tuned.optimizer.variables[2].numpy()).max() > 0

    tuned.fit(2 * x, y, epochs=1, verbose=0)
    assert all(map(np.array_equal, new.get_layer("base").get_weights(), tuned.get_layer("base").get_weights()))
    tuned.save("again.keras")
    said = run("ckpttool finetune again.keras --data data.npz --epochs 1 --lr 0.1 -o more.keras")
    left = "the file's own, Adam at a rate of 0.01, and its state are not used"
    assert f"the optimizer starts with a new state, as sgd at a rate of 0.1: {left}" in said
    refused = run("ckpttool finetune again.keras --data data.npz --train base --epochs 1 -o no.keras", 2)
    assert "--unfreeze base/bn1 trains it again" in refused
    said = run("ckpttool finetune again.keras --data data.npz --unfreeze base --epochs 1 -o thawed.keras")
    assert "trained, although frozen in the model: base/conv1/kernel" in said
    assert all(each.trainable for each in loaded("thawed.keras").get_layer("base").layers)
    ours = answer(run("ckpttool evaluate again.keras --data data.npz --preprocess 'scale(2)' --json"))
    assert tuned.evaluate(2 * x, y, verbose=0) == pytest.approx([ours["loss"], ours["accuracy"]], rel=1e-5)


def test_a_head_goes_on_a_layer_of_the_network_within(folder: Path, run: Run) -> None:
    x, _ = rows()
    run(f"ckpttool reuse model.keras --layers base/conv1 --head '{HEAD}' -o new.keras")
    new, old = loaded("new.keras"), loaded("model.keras")
    assert [each.name for each in new.get_layer("base").layers] == ["conv1"]
    below = old.get_layer("base").get_layer("conv1")
    np.testing.assert_allclose(new.get_layer("base").predict(x, verbose=0), below(x), atol=1e-6)


def test_other_families_and_the_way_back(folder: Path, run: Run) -> None:
    x, _ = rows()
    run(f"ckpttool reuse model.keras --layers base --head '{HEAD}' -o new.ckpt")
    run("ckpttool freeze new.ckpt --layers base -o back.keras")
    assert not loaded("back.keras").get_layer("base").trainable_variables
    model = loaded("back.keras")
    before = model.predict(x, verbose=0)
    for alone in ("back.weights.h5", "back.h5"):
        assert f"{alone} has the weights alone" in run(f"ckpttool freeze back.keras --layers base -o {alone}")
        model.set_weights([0 * each for each in model.get_weights()])
        model.load_weights(alone)
        np.testing.assert_array_equal(model.predict(x, verbose=0), before)
        weights = {name for name in checkpoint.open("back.keras") if not name.startswith("optimizer")}
        assert {name for name in checkpoint.open(alone) if not name.startswith("optimizer")} == weights
    run("ckpttool freeze back.keras --layers base -o served/")
    assert Path("served/saved_model.pb").is_file()


def test_what_is_refused_says_what_to_do(folder: Path, run: Run) -> None:
    assert "name it new.keras" in run("ckpttool freeze model.keras --layers base -o new", 2)
    run("ckpttool new --input 4 --layers 'h = dense(3, relu); outputs = dense(2)' -o made.ckpt")
    run("ckpttool freeze made.ckpt --layers h -o made.keras")
    assert loaded("made.keras").get_layer("outputs").trainable_variables
