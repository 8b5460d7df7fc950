"""Mistakes: misclassified rows, the most confident first; the same in batches as in one pass."""

from typing import Any

import numpy as np
import pytest

from ckpttool.data.splits import Split
from ckpttool.training.mistakes import Mistakes, thumbnail


def split(rows: Any) -> Split:
    return Split("test", {"X": rows}, None, len(rows))


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_surest_are_kept_whatever_the_batches(batch: int) -> None:
    draw = np.random.default_rng(0)
    outputs, labels = draw.normal(size=(100, 3)), draw.integers(0, 3, 100)
    mistakes = Mistakes(5)
    for start in range(0, 100, batch):
        mistakes.add(outputs[start : start + batch], labels[start : start + batch])
    powers = np.exp(outputs)
    sure = powers.max(axis=1) / powers.sum(axis=1)
    wrong = np.flatnonzero(outputs.argmax(axis=1) != labels)
    expected = sorted(wrong, key=lambda row: -sure[row])[:5]
    assert [row for _, row, _, _ in mistakes.worst] == expected
    assert [sure for sure, *_ in mistakes.worst] == pytest.approx(sure[expected])


def test_labels_may_be_one_hot_and_outputs_probabilities() -> None:
    mistakes = Mistakes(5)
    mistakes.add(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0, 1], [0, 1]]))
    ((sure, row, label, predicted),) = mistakes.worst
    assert (sure, row, label, predicted) == (pytest.approx(0.9), 0, 1, 0)


def test_classes_of_steps_are_no_classes_of_rows() -> None:
    mistakes = Mistakes(5)
    mistakes.add(np.zeros((2, 4, 3)), np.ones((2, 4), int))
    assert mistakes.read(split(np.zeros((2, 4, 1), np.float32)), ()) == ()


def test_rows_that_are_images_have_pixels() -> None:
    rows = np.zeros((2, 200, 100, 4), np.float32)
    rows[1, 0] = 1.0
    pixels = thumbnail(split(rows), 1)
    assert pixels is not None
    assert (pixels.shape, pixels.dtype, pixels[0].min(), pixels[1:].max()) == ((67, 34, 3), np.uint8, 255, 0)
    flat = thumbnail(split(np.arange(32, dtype=np.float32).reshape(2, 16)), 0)
    assert flat is not None and flat.shape == (4, 4, 1)
    assert thumbnail(split(np.zeros((2, 15), np.float32)), 0) is None
    assert thumbnail(split(np.full((2, 16), np.nan, np.float32)), 0) is not None
