"""Corrupted rows: kinds of corruption, and the margin between scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import pretrain


def method(text: str) -> Any:
    return PretrainingMethod.read(text, "`method`")


def spoilt(text: str, place: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows seen by a method, and the same corrupted."""
    good, bad = np.split(method(text).seen(place).numpy(), 2)
    np.testing.assert_array_equal(good, place.given)
    return good, bad


def test_shuffled_values_are_of_the_same_column_and_another_row(place: Callable[..., Any]) -> None:
    """Each row gets its value from another row."""
    rows = np.arange(40).reshape(8, 5)
    for _ in range(5):
        good, bad = spoilt("corrupt(how=shuffle(0.9))", place(rows))
        np.testing.assert_array_equal(bad % 5, good % 5)
        for number, row in enumerate(bad):
            assert len({*(row // 5)} - {number}) == 1
    many = np.random.default_rng(0).random((200, 50))
    good, bad = spoilt("corrupt(how=shuffle(0.3))", place(many))
    assert np.mean(good != bad) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("shape", [(6, 8, 1), (4, 4, 3), (2, 4, 1)])
def test_patches_change_places_in_each_image(place: Callable[..., Any], shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    images = np.random.default_rng(1).permutation(400 * height * width * channels).reshape(400, -1)
    good, bad = spoilt("corrupt(how=patches(2))", place(images, shape))
    as_it_was, spoiled = (np.sort(each.reshape(400, -1, channels), 1) for each in (good, bad))
    np.testing.assert_array_equal(as_it_was, spoiled)
    corners = set()
    for before, after in zip(good.reshape(400, *shape), bad.reshape(400, *shape), strict=True):
        rows, columns = np.nonzero((before != after).all(axis=2))
        top, left, right = rows.min(), columns.min(), columns.max() - 1
        assert len(rows) == 8 and right >= left + 2
        patches = [np.s_[top : top + 2, start : start + 2] for start in (left, right)]
        np.testing.assert_array_equal(before[patches[0]], after[patches[1]])
        np.testing.assert_array_equal(before[patches[1]], after[patches[0]])
        corners.add((top, left, right))
    if shape == (6, 8, 1):
        assert len(corners) > 20 and {corner[0] for corner in corners} == {*range(5)}
        assert {corner[2] for corner in corners} == {*range(2, 7)}


def test_noise_has_the_deviation_that_is_said(place: Callable[..., Any]) -> None:
    good, bad = spoilt("corrupt(how=noise(0.2))", place(np.zeros((200, 50))))
    assert np.std(bad - good) == pytest.approx(0.2, rel=0.05)


def test_the_loss_is_the_margin_that_is_missed(judged: Callable[..., Any]) -> None:
    """max(0, margin - (good - bad)), as in the chapter's max margin."""
    draw = np.random.default_rng(2)
    outputs, kernel = draw.normal(size=(12, 3)).astype(np.float32), draw.normal(size=(3, 1))
    loss, figure = judged(method("corrupt(margin=0.7)"), outputs, outputs, kernel, [0.3], outputs[:6])
    score = outputs @ kernel[:, 0] + 0.3
    good, bad = score[:6], score[6:]
    assert loss == pytest.approx(np.mean(np.maximum(0, 0.7 - (good - bad))), rel=1e-5)
    assert figure == pytest.approx(np.mean(good > bad))


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        (
            "corrupt(how=patches(5))",
            (6, 8, 1),
            r"patches\(size=5\): images of \[6, 8\] have no room for two such patches",
        ),
        ("corrupt(how=patches(7))", (6, 16, 1), r"images of \[6, 16\] have no room"),
        ("corrupt(how=patches(2))", None, "rows are not images that are known; specify their `image_shape`"),
        ("corrupt(how=patches(0))", None, "size must be a whole number above 0, found 0"),
        ("corrupt(how=shuffle(0))", None, "share must be a number above 0, found 0"),
        ("corrupt(margin=0)", None, "margin must be a number above 0, found 0"),
    ],
)
def test_what_cannot_be_done_is_refused(place: Callable[..., Any], text: str, images: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        method(text).seen(place(np.zeros((2, 48)), images))


def test_a_layer_learns_which_values_go_together(tmp_path: Path) -> None:
    """Rows of six numbers that depend on one: shuffled ones do not."""
    draw = np.random.default_rng(3)
    np.savez(tmp_path / "rows.npz", x_train=(draw.normal(size=(400, 1)) * np.ones(6)).astype(np.float32))
    options = Options(epochs=10, batch_size=20, recipe=Recipe("adam(0.01)"), seed=1)
    done = pretrain(tmp_path / "rows.npz", "hidden = dense(16, relu)", method("corrupt"), tmp_path / "o.ckpt", options)
    history = done.stages[0]["history"]
    assert history[-1]["valid_loss"] < 0.6 * history[0]["valid_loss"] and history[-1]["valid_accuracy"] > 0.85
