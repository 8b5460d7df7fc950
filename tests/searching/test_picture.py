"""The picture of a search: a panel for each number of rows, and one above them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ckpttool.core.errors import PlanError
from ckpttool.data.splits import Split
from ckpttool.searching.configurations import SCRATCH, Configuration, Design, Outcome
from ckpttool.searching.found import Search
from ckpttool.searching.picture import MARKS, draw, recommendation_text
from ckpttool.searching.recommendation import recommend
from ckpttool.searching.rows import SearchRows
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.options import Options

ACCURACY = {SCRATCH: 0.5, Configuration(1, 1): 0.6, Configuration(2, 2): 0.2, Configuration(1, 0): 0.8}


def found(rows: int, accuracy: dict[Configuration, float] = ACCURACY) -> Search:
    """Return the result of a search with a number of rows, in which the second depth, frozen, was pruned."""
    design, random = Design.of(rows, seeds=2, folds=2), np.random.default_rng(0)
    outcomes = {
        one: {block: Outcome((random.random(rows // 2) < right) * 1.0) for block in design.blocks}
        for one, right in accuracy.items()
    }
    if hopeless := outcomes.get(Configuration(2, 2)):
        hopeless[design.blocks[-1]] = Outcome(state="stopped", reason="worse")
    labelled = Split("choosing", {}, np.zeros(rows, np.int64), rows)
    of_rows = SearchRows(labelled, labelled, np.arange(0), design, 0, rows)
    held_out: Any = None
    found = recommend(outcomes, design, 2)
    return Search([], "", Options(), {}, of_rows, outcomes, [], held_out, found, held_out, None, 0.005)


def colors(path: Path) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the shape of a picture, and the number of pixels of each kind's color."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    counts = {}
    for name, (color, _) in MARKS.items():
        wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
        counts[name] = int((np.abs(pixels - wanted).max(axis=2) < 8).sum())
    return pixels.shape, counts


def test_a_search_is_a_panel(tmp_path: Path) -> None:
    draw(Picture(tmp_path / "one.png", overwrite=False), [found(400)], "model.ckpt")
    shape, counts = colors(tmp_path / "one.png")
    assert shape == (540, 1200, 3)
    assert {name for name, count in counts.items() if count > 100} == {"from scratch", "frozen", "trained"}


def test_with_several_numbers_of_rows_there_is_a_panel_for_each_and_one_over_them(tmp_path: Path) -> None:
    draw(Picture(tmp_path / "some.png", overwrite=False), [found(100), found(200), found(400)], "a$b$_^.ckpt")
    shape, counts = colors(tmp_path / "some.png")
    assert shape == (round((0.8 + 3 * 2.8) * 150), 1200, 3)
    assert counts["trained"] > 300


def test_what_was_ended_before_its_first_trial_is_no_picture(tmp_path: Path) -> None:
    draw(Picture(tmp_path / "none.png", overwrite=False), [found(100, {})], "model.ckpt")
    assert not (tmp_path / "none.png").exists()
    draw(Picture(tmp_path / "one.png", overwrite=False), [found(100, {}), found(100, {SCRATCH: 0.5})], "model.ckpt")
    assert colors(tmp_path / "one.png")[1]["frozen"] == 0


def test_it_says_what_is_recommended() -> None:
    assert recommendation_text(found(1000)) == "1,000 rows: keep 1, freeze 0"
    close = {SCRATCH: 0.5, Configuration(1, 0): 0.55, Configuration(2, 1): 0.52}
    assert recommendation_text(found(40, close)) == "40 rows: no recommendation"


def test_another_name_than_a_picture_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"expected a name that ends with \.png"):
        Picture(tmp_path / "one.html", overwrite=True)
