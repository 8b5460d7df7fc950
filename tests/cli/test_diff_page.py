"""The page of `diff --html` in a browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool import checkpoint
from ckpttool.cli import main

TABLE = "table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText))"
Opened = Callable[[Path], Any]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chapter's network after an epoch with its two lowest layers frozen, and the page of the differences."""
    fixtures, folder = Path(__file__).parents[2] / "fixtures", tmp_path_factory.mktemp("tuned")
    before, after, page = fixtures / "my_model_final.ckpt", folder / "tuned.ckpt", folder / "page.html"
    run = ["finetune", before, "--data", fixtures / "mnist_small.npz", "--freeze", "hidden[12]", "--epochs", "1"]
    run += ["--batch-size", "100"]
    for arguments, code in (([*run, "-o", after], 0), (["diff", before, after, "--html", page], 1)):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
    return page


def test_frozen_layers_are_shown_unchanged_below_those_that_moved(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    assert page.title() == "my_model_final.ckpt against tuned.ckpt"
    rows = page.eval_on_selector("#moved-layers", TABLE)
    moved, still = rows[:-2], rows[-2:]
    assert page.locator(".verdict").inner_text() == "Only the upper 4 of 6 layers moved, from hidden3 upwards."
    assert [[rank, name, said, changed] for rank, name, _, said, _, changed in still] == [
        ["", "hidden1", "unchanged", "0 of 2"],
        ["", "hidden2", "unchanged", "0 of 2"],
    ]
    assert [row[0] for row in moved] == ["1", "2", "3", "4"]
    assert {row[1] for row in moved} == {"hidden3", "hidden4", "hidden5", "outputs"}
    distances = [float(row[3].removesuffix(" %")) for row in moved]
    assert distances == sorted(distances, reverse=True)
    assert min(distances) > 0
    assert page.locator(".counts li").all_inner_texts() == ["layers moved: 4", "layers unchanged: 2"]


def test_each_matrix_that_moved_has_a_map_and_its_directions(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    named = page.locator(".maps code").all_inner_texts()
    assert sorted(named) == [f"{layer}/kernel" for layer in ("hidden3", "hidden4", "hidden5", "outputs")]
    assert [name.removesuffix("/kernel") for name in named] == page.locator("#moved-layers code").all_inner_texts()[:4]
    assert str(page.locator(".maps img").first.get_attribute("alt")).startswith(f"where {named[0]} moved: 50 rows, ")
    directions = [row[4] for row in page.eval_on_selector("#moved-layers", TABLE)]
    assert all(each.startswith(("about", "rank")) for each in directions[:4])
    assert directions[4:] == ["", ""]


def test_bars_are_as_long_as_layers_moved_far(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    widths = page.eval_on_selector_all(
        "#moved-layers .track i i", "bars => bars.map(b => b.getBoundingClientRect().width)"
    )
    whole = page.locator("#moved-layers .track > i").first.bounding_box()["width"]
    assert len(widths) == 4
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == pytest.approx(whole, abs=1)


def test_weights_are_sorted_and_found(tuned: Path, opened: Opened) -> None:
    page = opened(tuned)
    assert page.locator("#weights tbody tr.still").count() == 4
    page.click("#weights th button:text-is('name')")
    names = [row[0] for row in page.eval_on_selector("#weights", TABLE)]
    assert names == sorted(names)
    assert len(names) == 12
    page.click("#weights th button:text-is('relative L2')")
    farthest = page.eval_on_selector("#weights", TABLE)
    assert [row[0] for row in farthest[-4:]] == [f"hidden{n}/{part}" for n in (1, 2) for part in ("bias", "kernel")]
    page.get_by_label("find a name in weights").fill("hidden2/")
    assert page.locator("#weights tbody tr:visible td.name").all_inner_texts() == ["hidden2/bias", "hidden2/kernel"]


def test_names_are_inert(shell: Any, tmp_path: Path, opened: Opened) -> None:
    names = ["<script>alert(1)</script>/w", "<img src=x onerror=alert(2)>/w", "</code></table><h1>/w", "a&lt;b'\"/w"]
    for number in (1, 2):
        checkpoint.save({name: np.full(2, number, np.float32) for name in names}, tmp_path / f"{number}.ckpt")
    shell.run("diff", tmp_path / "1.ckpt", tmp_path / "2.ckpt", "--html", tmp_path / "page.html", exit_code=1)
    page = opened(tmp_path / "page.html")
    assert page.locator("#weights td.name").all_inner_texts() == sorted(names)
    assert (page.locator("script").count(), page.locator("img").count(), page.locator("h1").count()) == (1, 0, 1)
