"""The plot: a picture of the intended size, drawn without changing the user's settings."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from ckpttool.core.errors import CkptError, ExistingOutput, MissingDependency, MissingFile, PlanError
from ckpttool.formats.writing.staging import staged
from ckpttool.training.callbacks import plot
from ckpttool.training.callbacks.plot import Plot
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.run import Epoch, Run


def drawn(path: Path, epochs: list[Epoch]) -> Any:
    drawing = Plot(path, "out.ckpt", overwrite=False)
    for epoch in epochs:
        drawing.on_epoch_end(epoch)
    drawing.on_run_end()
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def epoch(number: int, accuracy: float | None = 0.5, rate: float | None = 0.1) -> Epoch:
    return Epoch(number, 1 / number, 2 / number, accuracy, 0.1, number * 8, rate)


def colored(picture: Any, color: tuple[int, int, int]) -> int:
    """Count the pixels of a color."""
    return int((np.abs(picture - color).max(axis=2) < 8).sum())


@pytest.mark.parametrize(
    ("accuracy", "rate", "height"), [(0.5, 0.1, 7.6), (None, 0.1, 5.0), (0.5, None, 6.0), (None, None, 3.4)]
)
def test_there_is_a_panel_for_what_a_run_has(
    tmp_path: Path, accuracy: float | None, rate: float | None, height: float
) -> None:
    picture = drawn(tmp_path / "run.png", [epoch(number, accuracy, rate) for number in range(1, 6)])
    assert picture.shape == (round(height * 150), 1200, 3)
    assert colored(picture, (0x2A, 0x6F, 0xBB)) > 1000
    assert colored(picture, (0xD9, 0x62, 0x2B)) > 1000
    assert (colored(picture, (0x3B, 0x8B, 0x5D)) > 1000) == (rate is not None)


@pytest.mark.parametrize("rates", [[0.0], [0.1], [0.1, 1e-5], [0.1, 0.0], [0.01] * 300])
def test_any_rates_and_any_number_of_epochs_can_be_drawn(tmp_path: Path, rates: list[float]) -> None:
    history = [epoch(number, rate=rate) for number, rate in enumerate(rates, 1)]
    assert drawn(tmp_path / "run.png", history).shape == (1140, 1200, 3)


def test_a_run_draws_its_whole_history(
    train: Callable[..., Run], stopped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, histories = Recording(plot=tmp_path / "run.png"), []
    draw = plot.draw_curves
    monkeypatch.setattr(plot, "draw_curves", lambda *given: (histories.append(len(given[2][0])), draw(*given))[1])
    stopped(recording)
    run = train(recording, resume=True, save_every="5 steps")
    assert histories == [2, len(run.history)]
    with Image.open(tmp_path / "run.png") as image:
        assert (image.format, image.size) == ("PNG", (1200, 1140))


@pytest.mark.parametrize("folder", [".", "plots"])
def test_a_picture_in_the_folder_of_the_model_is_committed_with_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / "plots").mkdir()
    path = tmp_path / folder / "run.png"
    drawing = Plot(path, "out.ckpt", overwrite=False)
    drawing.on_run_begin([epoch(1)])
    with staged(tmp_path / "out.ckpt", lambda: None, list) as place:
        place.write_text("a model")
        drawing.on_output(place)
        assert not path.exists()
        assert (place.parent / "run.png").exists() == (folder == ".")
    assert path.exists() == (folder == ".")
    drawing.on_run_end()
    assert path.exists()


def test_a_vector_picture_and_a_name_with_dollars(tmp_path: Path) -> None:
    drawing = Plot(tmp_path / "run.svg", "a$b$_^.ckpt", overwrite=False)
    drawing.on_epoch_end(epoch(1))
    drawing.on_run_end()
    assert "<svg" in (tmp_path / "run.svg").read_text()


def test_the_settings_of_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dict(mpl.rcParams)  # reading them may select a backend, which imports pyplot
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    drawn(tmp_path / "run.png", [epoch(1)])
    assert dict(mpl.rcParams) == settings
    assert "matplotlib.pyplot" not in sys.modules


def test_what_cannot_be_drawn_is_refused_before_the_first_step(train: Callable[..., Run], tmp_path: Path) -> None:
    def refused(name: str, error: type[CkptError], message: str) -> None:
        with pytest.raises(error, match=message):
            train(Recording(plot=tmp_path / name))

    (tmp_path / "there.png").write_text("mine")
    (tmp_path / "folder.png").mkdir()
    refused("run.jpeg", PlanError, r"`plot` .*run\.jpeg: expected a name that ends with \.png, \.pdf, \.svg")
    refused("there.png", ExistingOutput, r"there\.png exists already; `overwrite` replaces it")
    refused("folder.png", CkptError, r"folder\.png is a folder")
    refused("none/run.png", MissingFile, r"the folder .*none does not exist; `mkdir -p")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "there.png"]


def test_without_matplotlib(train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"`plot` needs Matplotlib: pip install 'ckpttool\[plot\]'"):
        train(Recording(plot=tmp_path / "run.png"))
    assert not list(tmp_path.iterdir())
