"""The picture of an evaluation: the color of a cell shows how often a class was predicted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckpttool.core.errors import ExistingOutput, PlanError
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.tallies import Confusion, Labels
from ckpttool.training.tally_picture import draw_evaluation


def figures(counts: Any, names: bool = False) -> dict[str, Any]:
    confusion = Confusion(len(counts))
    confusion.counts[:] = counts
    found = {"rows": int(np.sum(counts)), "loss": 0.5, "accuracy": confusion.accuracy, **confusion.summary()}
    if names:
        found["classes"] = [{**each, "name": f"$class_{each['class']}^{{"} for each in found["classes"]]
    return found


def blue(path: Path) -> int:
    """The number of pixels of the warmest colour of the table."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return int((np.abs(pixels - [8, 48, 107]).max(axis=2) < 10).sum())


def test_all_right_is_a_warm_diagonal_and_all_mixed_is_none(tmp_path: Path) -> None:
    right, mixed = np.eye(6, dtype=int) * 9, np.full((6, 6), 3)
    for name, counts in (("right", right), ("mixed", mixed)):
        draw_evaluation(Picture(tmp_path / f"{name}.png", overwrite=False), "model", figures(counts))
    assert blue(tmp_path / "right.png") > 6 * 1000 > 10 * blue(tmp_path / "mixed.png")


@pytest.mark.parametrize("classes", [2, 10, 120])
def test_names_of_any_kind_and_many_classes_are_drawn(tmp_path: Path, classes: int) -> None:
    draw = np.random.default_rng(0)
    path = tmp_path / "plot.svg"
    draw_evaluation(Picture(path, False), "$a^{", figures(draw.integers(0, 5, (classes, classes)), names=True))
    text = path.read_text()
    assert "predicted class" in text and "recall and precision of each class" in text


def test_labels_have_bars_alone_and_numbers_nothing(tmp_path: Path) -> None:
    labels = Labels(3, 0.0)
    labels.add(np.array([[1.0, -1.0, 2.0]]), np.array([[1, 1, 0]]))
    found = {"rows": 1, "loss": 0.1, "accuracy": None, **labels.summary()}
    draw_evaluation(Picture(tmp_path / "labels.svg", False), "model", found)
    assert "predicted class" not in (tmp_path / "labels.svg").read_text()
    with pytest.raises(PlanError, match="not classes or labels"):
        draw_evaluation(Picture(tmp_path / "numbers.svg", False), "model", {"rows": 1, "loss": 0.1, "accuracy": None})
    assert not (tmp_path / "numbers.svg").exists()
    with pytest.raises(ExistingOutput):
        Picture(tmp_path / "labels.svg", False)
