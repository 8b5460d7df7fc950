"""Training on augmented images: other images in every epoch, or K variants of each in a cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.training.run import Run
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.new import new

OPTIONS = Options(epochs=4, batch_size=20, recipe=Recipe(lr="0.1"), valid="first:30", keep="last")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose class is the bright half: a flip changes it."""
    random = np.random.default_rng(4)
    y = random.integers(0, 2, 150)
    x = random.integers(0, 80, (150, 6, 6)).astype(np.uint8)
    x[y == 0, :, :3] += 150
    x[y == 1, :, 3:] += 150
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x_train=x, y_train=y)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "model.ckpt"
    new([36], "hidden1 = dense(12, relu); outputs = dense(2)", path, recipe=Recipe(), seed=1)
    return Model.open(path)


def losses(run: Run) -> list[float]:
    return [epoch.loss for epoch in run.history]


def test_images_are_changed_in_training_and_not_in_validation(model: Model, images: Path, tmp_path: Path) -> None:
    """Flipped at random, an image contains nothing about its class, so nothing is learned."""
    plain = finetune(model, images, OPTIONS, tmp_path / "plain.ckpt")
    flipped = finetune(model, images, replace(OPTIONS, augment="flip()"), tmp_path / "flipped.ckpt")
    shifted = finetune(model, images, replace(OPTIONS, augment="shift(0.1); brightness(0.1)"), tmp_path / "s.ckpt")
    assert plain.kept.valid_accuracy == shifted.kept.valid_accuracy == 1.0
    assert losses(flipped)[-1] > 0.5
    assert losses(plain)[-1] < losses(shifted)[-1] < losses(flipped)[-1]


def test_draws_follow_the_seed(model: Model, images: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, augment="rotate(20); shift(0.2)")
    runs = [
        finetune(model, images, replace(options, seed=seed), tmp_path / f"{number}.ckpt")
        for number, seed in enumerate((5, 5, 6))
    ]
    assert losses(runs[0]) == losses(runs[1]) != losses(runs[2])


def test_variants_are_cached_and_trained_on_in_turn(model: Model, images: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze="hidden1", cache=True, cache_dir=tmp_path / "cache", augment="shift(0.2)")
    run = finetune(model, images, replace(options, cache_augment=3), tmp_path / "out.ckpt")
    assert run.features is not None
    assert (run.features.rows, run.features.variants) == (3 * 120 + 30, 3)
    again = finetune(model, images, replace(options, cache_augment=3), tmp_path / "again.ckpt")
    assert again.features is not None
    assert again.features.hit
    assert losses(again) == losses(run)
    one = finetune(model, images, replace(options, cache_augment=1), tmp_path / "one.ckpt")
    assert losses(one)[0] == losses(run)[0]
    assert losses(one)[1] != losses(run)[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"augment": "shift(0.1)", "cache": True, "freeze": "hidden1"}, "specify `cache_augment`, how many variants"),
        ({"cache_augment": 2}, "`cache_augment` 2 needs `augment` and `cache`"),
        ({"image_shape": (6, 6)}, "`image_shape` is for `augment`"),
        ({"augment": "shift(0.1)", "image_shape": (5, 7)}, "`image_shape` 5,7: rows of X have 36 values"),
        ({"augment": "hue(0.1)"}, "hue"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_step(
    model: Model, images: Path, tmp_path: Path, options: dict[str, object], problem: str
) -> None:
    with pytest.raises(PlanError, match=problem):
        finetune(model, images, replace(OPTIONS, **options), tmp_path / "out.ckpt")  # type: ignore[arg-type]
