"""Rows that belong together: by labels, by groups, by time."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.data.splits import Split
from ckpttool.graph.contents.batch_losses import BatchLoss
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.belonging import dealt, with_pairs
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import Pretrained, pretrain


def labels(split: Split, asks: BatchLoss) -> np.ndarray:
    """Return the labels of the training rows."""
    (train,) = with_pairs([split], asks)
    assert train.labels is not None
    return train.labels


def test_labels_say_which_rows_are_of_one_group_and_near() -> None:
    groups, numbers = np.array([5, 7, 5, 5, 7, 9]), np.arange(6)
    for near in (0, 2):
        found = labels(Split("train", {}, None, 6, groups=groups), BatchLoss("group", near))
        same = np.abs(found[:, None] - found) <= near
        close = np.abs(numbers[:, None] - numbers) <= (near or 6)
        np.testing.assert_array_equal(same, (groups[:, None] == groups) & close)


@pytest.mark.parametrize("seed", range(5))
def test_near_rows_are_dealt_two_and_two(seed: int) -> None:
    """All but a few rows, at the ends of windows whose starts vary, have a near one next to them."""
    order = np.random.default_rng(seed).permutation(90)
    found = dealt(order, np.arange(90), BatchLoss("place", 2))
    assert sorted(found) == list(range(90))
    near = np.abs(np.diff(found)) <= 2
    assert near.sum() >= 30  # of windows of 3 rows: one pair each


class Notes(Callback):
    """Stores notices about rows."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_data(self, splits: Iterable[Split]) -> None:
        self.notes += [note for split in splits for note in split.notes]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Pretrained]:
    """Pretrain on 200 rows that are constant for 10 rows each, in 20 groups, or as given."""

    def run(text: str, name: str = "rows.npz", **more: Any) -> Pretrained:
        draw = np.random.default_rng(0)
        rows = (np.repeat(draw.normal(size=(20, 3)), 10, 0) + 0.1 * draw.normal(size=(200, 3))).astype(np.float32)
        kinds = more.pop("kinds", np.repeat(np.arange(20), 10))
        np.savez(tmp_path / "rows.npz", x_train=rows, kind_train=kinds)
        lines = [",".join(map(str, [*row, f"k{kind}"])) for row, kind in zip(rows, kinds, strict=True)]
        (tmp_path / "rows.csv").write_text("\n".join(["a,b,c,kind", *lines]))
        method, layers = PretrainingMethod.read(text, "`method`"), "hidden = dense(4)"
        given = {
            "epochs": 2,
            "batch_size": 20,
            "recipe": Recipe("adam(0.01)"),
            "keep": "last",
            **more.pop("options", {}),
        }
        return pretrain(tmp_path / name, layers, method, tmp_path / "out.ckpt", Options(**given), **more)

    return run


def contrastive(rows: np.ndarray, same: np.ndarray) -> float:
    distance = np.linalg.norm(rows[:, np.newaxis] - rows, axis=2)
    alike = same & ~np.eye(len(rows), dtype=bool)
    return float(np.mean(distance[alike] ** 2) + np.mean(np.maximum(0, 1 - distance[~same]) ** 2))


def embedded(tmp_path: Path) -> np.ndarray:
    """Return the normalised outputs of the written layer for all rows."""
    weights = {name: tensor.read() for name, tensor in checkpoint.open(tmp_path / "out.ckpt").items()}
    rows = np.load(tmp_path / "rows.npz")["x_train"] @ weights["hidden/kernel"] + weights["hidden/bias"]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_places_tell_pairs_and_the_last_rows_are_held_out(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    notes = Notes()
    done = run("pairs(near=3)", callbacks=notes)
    assert "validation: the last 20 of 200 training rows" in notes.notes
    places = np.arange(180, 200)
    loss = contrastive(embedded(tmp_path)[180:], np.abs(places[:, None] - places) <= 3)
    assert done.stages[0]["history"][-1]["valid_loss"] == pytest.approx(loss, rel=1e-4)
    assert done.stages[0]["history"][-1]["valid_accuracy"] > 0.5


@pytest.mark.parametrize("name", ["rows.npz", "rows.csv"])
def test_groups_tell_pairs_and_stay_on_one_side(run: Callable[..., Pretrained], tmp_path: Path, name: str) -> None:
    done = run("pairs(by=group)", name, options={"group": "kind"}, shape=(3,))
    assert done.stages[0]["history"][-1]["valid_accuracy"] > 0.9
    assert done.stages[0]["history"][-1]["loss"] < done.stages[0]["history"][0]["loss"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("pairs(by=group)", {}, r"`method` pairs\(by=group\) needs `group`, a column, or an expression"),
        ("pairs(near=2)", {"valid": "20%"}, "rows drawn among them are none: hold out the last with `valid` last:10%"),
        ("pairs(near=2)", {"group": "kind"}, "groups are compared by `by=group`"),
        ("pairs(near=0)", {}, "near must be a whole number above 0, found 0"),
        ("pairs(near=200)", {}, "all of 180 rows have places 200 apart at most, expected pairs of both kinds"),
    ],
)
def test_what_tells_no_pairs_is_refused(
    run: Callable[..., Pretrained], text: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CkptError, match=message):
        run(text, options=options)
    assert not list(tmp_path.glob("out*"))


def test_groups_of_one_row_are_no_pairs(run: Callable[..., Pretrained]) -> None:
    with pytest.raises(CkptError, match=r"rows\.npz: no two of 180 rows are of one group, expected pairs"):
        run("pairs(by=group)", options={"group": "kind"}, kinds=np.arange(200))
