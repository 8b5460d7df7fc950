"""Several inputs: a Keras model whose inputs are images and facts is pretrained by each method that supports it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.graphs import Images
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.training.pretraining import Grown, Stage
from ckpttool.verbs.pretrain import Pretrained, pretrain

OPTIONS = Options(epochs=1, batch_size=20, recipe=Recipe("adam(0.01)"), keep="last", valid="last:20")


def method(text: str) -> PretrainingMethod:
    return PretrainingMethod.read(text, "`method`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two inputs, and 100 rows with three labels."""
    import keras

    folder, draw = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    photo, facts = keras.Input((6, 6, 1), name="photo"), keras.Input((3,), name="facts")
    seen = keras.layers.Flatten(name="flat")(keras.layers.Conv2D(2, 3, activation="relu", name="conv")(photo))
    both = keras.layers.Concatenate(name="both")([seen, keras.layers.Dense(4, "tanh", name="side")(facts)])
    keras.Model([facts, photo], keras.layers.Dense(5, name="top")(both)).save(folder / "two.keras")
    rows = {"photo_train": draw.random((100, 6, 6, 1)), "facts_train": draw.normal(size=(100, 3))}
    np.savez(folder / "rows.npz", y_train=np.arange(100) % 3, **{k: v.astype(np.float32) for k, v in rows.items()})
    return folder


def run(folder: Path, output: Path, text: str, layers: str | None = None, **options: Any) -> Pretrained:
    from dataclasses import replace

    given = replace(OPTIONS, cache_dir=output.parent / "cache", **options)
    return pretrain(folder / "rows.npz", layers, method(text), output, given, model=Model.open(folder / "two.keras"))


def test_pairs_are_judged_as_keras_computes_the_embeddings(folder: Path, tmp_path: Path) -> None:
    import keras

    done = run(folder, tmp_path / "out.keras", "pairs")
    rows, network = np.load(folder / "rows.npz"), keras.models.load_model(tmp_path / "out.keras", compile=False)
    found = network.predict([rows["facts_train"][80:], rows["photo_train"][80:]], verbose=0)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    distance, labels = np.linalg.norm(found[:, None] - found, axis=2), rows["y_train"][80:]
    same = labels[:, None] == labels
    alike = same & ~np.eye(20, dtype=bool)
    loss = np.mean(distance[alike] ** 2) + np.mean(np.maximum(0, 1 - distance[~same]) ** 2)
    assert done.stages[0]["history"][0]["valid_loss"] == pytest.approx(loss, rel=1e-4)


def test_images_are_turned_and_what_is_beside_them_stays(folder: Path) -> None:
    """The layers process each image in four rotations, with the same facts four times, as in Keras."""
    import keras

    model = Model.open(folder / "two.keras")
    grown = Grown.of_model(model, None)
    images = Images("photo:0", (6, 6, 1))
    turned = grown.to_train(method("rotate"), Stage((), ()), 0, images, {})
    rows = np.load(folder / "rows.npz")
    photo, facts = rows["photo_train"][:7], rows["facts_train"][:7]
    stream = Bound.of(turned, needed=()).inference([grown.top], ["photo:0", "facts:0"])
    (found,) = stream.of({"photo:0": photo, "facts:0": facts}, slice(None))
    turns = np.concatenate([np.rot90(photo, turn, (1, 2)) for turn in range(4)])
    network = keras.models.load_model(folder / "two.keras", compile=False)
    expected = network.predict([np.tile(facts, (4, 1)), turns], verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "layers", "stages"),
    [
        ("corrupt(how=noise(0.3))", None, ["all layers"]),
        ("corrupt(how=patches(2))", None, ["all layers"]),
        ("autoencoder", "code = dense(3, tanh)", ["code"]),
    ],
)
def test_other_methods_take_several_inputs(
    folder: Path, tmp_path: Path, text: str, layers: str | None, stages: list[str]
) -> None:
    done = run(folder, tmp_path / "out.keras", text, layers)
    assert [stage["layer"] for stage in done.stages] == stages
    assert done.stages[0]["representation"]["rows"] == 20


def test_whole_numbers_take_no_noise(tmp_path: Path) -> None:
    import keras

    tokens = keras.Input((7,), dtype="int32", name="tokens")
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(keras.layers.Embedding(9, 4, name="embedding")(tokens))
    keras.Model(tokens, keras.layers.Dense(3, name="top")(mean)).save(tmp_path / "two.keras")
    np.savez(tmp_path / "rows.npz", tokens_train=np.random.default_rng(0).integers(0, 9, (100, 7)).astype(np.int32))
    with pytest.raises(PlanError, match=r"noise\(deviation=0.3\) is added to floats, tokens takes int32: `shuffle`"):
        run(tmp_path, tmp_path / "out.keras", "corrupt(how=noise(0.3))")
    assert run(tmp_path, tmp_path / "out.keras", "corrupt").stages[0]["layer"] == "all layers"
