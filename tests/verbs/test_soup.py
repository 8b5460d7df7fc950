"""Soups: the averaged models are those by plain TensorFlow's accuracies of the means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.model.model import Model, write_model
from ckpttool.verbs.merge import plan_merge
from ckpttool.verbs.new import plan_new
from ckpttool.verbs.soup import plan_soup

ROWS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0).astype(np.int64)
RIGHT, WRONG = np.array([[-1.0, 1], [0, 0], [0, 0], [0, 0]]), np.array([[1.0, -1], [0, 0], [0, 0], [0, 0]])
SIDEWAYS, OTHER = (np.array([[-1.0, 1], [side, -side], [0, 0], [0, 0]]) for side in (-1, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a linear network with four kernels, each as a model, and rows whose class is their first number's sign."""
    folder = tmp_path_factory.mktemp("soup")
    np.savez(folder / "rows.npz", x_train=ROWS, y_train=LABELS, x_valid=ROWS, y_valid=LABELS)
    plan_new([4], "outputs = dense(2)").write(folder / "net.ckpt")
    kernels = {
        "right": RIGHT,
        "wrong": 3 * WRONG,
        "sideways": SIDEWAYS,
        "other": SIDEWAYS * np.array([[1], [-1], [1], [1]]),
    }
    net = Model.open(folder / "net.ckpt")
    for name, kernel in kernels.items():
        values = {**net.checkpoint, "outputs/kernel": Tensor.of("outputs/kernel", kernel.astype(np.float32))}
        write_model(net.graph, Checkpoint.of(values), folder / f"{name}.ckpt", overwrite=False)
    return folder


def models(folder: Path, *names: str) -> list[Model]:
    return [Model.open(folder / f"{name}.ckpt") for name in names]


def accuracy(kernel: Any) -> float:
    return float(((ROWS @ kernel).argmax(axis=1) == LABELS).mean())


def test_a_soup_has_the_best_and_what_does_the_mean_no_harm(folder: Path, tmp_path: Path) -> None:
    plan = plan_soup(models(folder, "sideways", "wrong", "other"), folder / "rows.npz")
    assert [row.as_json()["in"] for row in plan.rows] == [True, False, True]
    alone = [row.as_json()["accuracy"] for row in plan.rows]
    np.testing.assert_allclose(alone, [accuracy(SIDEWAYS), accuracy(WRONG), accuracy(OTHER)])
    plan.write(tmp_path / "soup.ckpt")
    np.testing.assert_allclose(ckpttool.open(tmp_path / "soup.ckpt")["outputs/kernel"].read(), RIGHT)
    assert "the mean of 2 of 3 is written" in plan.notes[-1]
    assert "accuracy 1.0000 on the 200 rows that chose it" in plan.notes[-1]


def test_between_two_models_the_best_part_of_the_way_is_taken(folder: Path, tmp_path: Path) -> None:
    plan = plan_soup(models(folder, "wrong", "right"), folder / "rows.npz", alpha="0:1:0.25")
    figures = [(row.as_json()["alpha"], row.as_json()["accuracy"]) for row in plan.rows]
    expected = [(part, accuracy((1 - part) * 3 * WRONG + part * RIGHT)) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert [part for part, _ in figures] == [part for part, _ in expected]
    assert figures[0][1] == pytest.approx(expected[0][1])
    assert figures[-1][1] == 1.0
    plan.write(tmp_path / "between.ckpt")
    np.testing.assert_allclose(ckpttool.open(tmp_path / "between.ckpt")["outputs/kernel"].read(), RIGHT)


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["right"], {"how": "soup"}, "1 model for a soup, expected two or more"),
        (["right", "wrong", "other"], {"alpha": "0.5"}, "`alpha` is for two models"),
        (["right", "wrong"], {"alpha": "0:1"}, "`alpha` '0:1': expected numbers from 0 to 1"),
        (["right", "wrong"], {"alpha": "0:1:0"}, "`alpha` '0:1:0': expected"),
        (["right", "wrong"], {"alpha": "nan"}, "`alpha` 'nan': expected"),
        (["right", "wrong"], {"alpha": "1.5"}, "`alpha` '1.5': expected"),
        (["right", "wrong"], {"how": "slerp"}, "`data` does not apply to slerp"),
        (["right", "wrong"], {"how": "soup", "weights": (1.0, 2.0)}, "leave `weights` out"),
        (["right", "wrong"], {"how": "ties", "alpha": "0.5"}, "leave `how` ties out"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder: Path, names: list[str], options: Any, expected: str) -> None:
    with pytest.raises(PlanError, match=expected):
        plan_merge([folder / f"{name}.ckpt" for name in names], None, data=folder / "rows.npz", **options)


def test_without_rows_nothing_decides(folder: Path) -> None:
    with pytest.raises(PlanError, match="`how` soup is evaluated on data: specify `data`"):
        plan_merge([folder / "right.ckpt", folder / "wrong.ckpt"], None, how="soup")
