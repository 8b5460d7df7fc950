"""Rotated images: the rotations are NumPy's, and so is the cross entropy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.training.outputs import softmax
from ckpttool.verbs.pretrain import pretrain

ROTATE = PretrainingMethod.read("rotate", "`method`")


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_rows_are_seen_in_each_turn(place: Callable[..., Any], channels: int, flat: bool) -> None:
    images = np.random.default_rng(0).random((3, 5, 5, channels)).astype(np.float32)
    seen = ROTATE.seen(place(images.reshape(3, -1) if flat else images, (5, 5, channels))).numpy()
    expected = np.concatenate([np.rot90(images, turn, (1, 2)) for turn in range(4)])
    np.testing.assert_array_equal(seen.reshape(expected.shape), expected)
    assert seen.shape == ((12, 25 * channels) if flat else (12, 5, 5, channels))


def test_the_loss_is_the_cross_entropy_of_the_turns(judged: Callable[..., Any]) -> None:
    draw = np.random.default_rng(1)
    outputs = draw.normal(size=(12, 6)).astype(np.float32)
    kernel, bias = draw.normal(size=(6, 4)), draw.normal(size=4)
    loss, figure = judged(ROTATE, outputs, outputs, kernel, bias, outputs[:3])
    logits, turns = outputs @ kernel + bias, np.repeat(range(4), 3)
    assert loss == pytest.approx(-np.mean(np.log(softmax(logits)[range(12), turns])), rel=1e-5)
    assert figure == pytest.approx(np.mean(logits.argmax(axis=1) == turns))


@pytest.mark.parametrize("shape", [None, (2, 9, 2)])
def test_flat_rows_are_images_of_the_shape_that_is_said(shape: Any, tmp_path: Path) -> None:
    """For 36 values: a square by default; for 35 a shape must be given, and fit."""
    rows = np.random.default_rng(0).random((40, 36)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=rows, x_valid=rows)
    np.savez(tmp_path / "odd.npz", x_train=rows[:, :35])
    options = Options(epochs=1, image_shape=shape)
    if shape:
        with pytest.raises(PlanError, match=r"rotate turns square images, rows are \[2, 9, 2\]"):
            pretrain(tmp_path / "rows.npz", "hidden = dense(3)", ROTATE, tmp_path / "out.ckpt", options)
        return
    pretrain(tmp_path / "rows.npz", "hidden = dense(3)", ROTATE, tmp_path / "a.ckpt", options)
    pretrain(
        tmp_path / "rows.npz", "hidden = dense(3)", ROTATE, tmp_path / "b.ckpt", Options(epochs=1, image_shape=(6, 6))
    )
    with pytest.raises(PlanError, match=r"`method` rotate: rows of X are \[35\], no images .*: `image_shape` HEIGHT"):
        pretrain(tmp_path / "odd.npz", "hidden = dense(3)", ROTATE, tmp_path / "out.ckpt", options)


@pytest.mark.parametrize("images", [(28, 14, 1), None])
def test_only_square_images_are_turned(place: Callable[..., Any], images: Any) -> None:
    with pytest.raises(PlanError, match="rotate turns square images, rows are"):
        ROTATE.seen(place(np.zeros((2, 392)), images))


def test_a_layer_learns_which_way_is_up(tmp_path: Path) -> None:
    draw, light = np.random.default_rng(2), np.linspace(0, 1, 6)[:, np.newaxis]
    np.savez(tmp_path / "rows.npz", x_train=(light + draw.random((200, 6, 6)) * 0.5).astype(np.float32))
    options = Options(epochs=4, batch_size=20, recipe=Recipe("adam(0.01)"), seed=1)
    layers = "conv = conv2d(4, 3, relu); flatten(); hidden = dense(8, relu)"
    done = pretrain(tmp_path / "rows.npz", layers, ROTATE, tmp_path / "out.ckpt", options, shape=(6, 6, 1))
    history = done.stages[0]["history"]
    assert history[-1]["valid_loss"] < 0.5 * history[0]["valid_loss"] and history[-1]["valid_accuracy"] > 0.9
