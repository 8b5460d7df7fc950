"""The history file: a row per epoch, whole at any time, and the whole history of a resumed run."""

import csv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import ExistingOutput
from ckpttool.training.callbacks import recording
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.callbacks.recording import HistoryFile
from ckpttool.training.run import Epoch, Run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def as_text(epoch: Epoch) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in asdict(epoch).items()}


def test_each_epoch_is_a_row_with_all_of_its_figures(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train()
    assert rows_of(tmp_path / "out.ckpt.history.csv") == [as_text(epoch) for epoch in run.history]
    assert (tmp_path / "out.ckpt.history.csv").read_bytes().count(b"\n") == 5


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, ["1", "12", "123", "1234"]), (1e6, ["1", "1", "1", "1"])])
def test_it_is_whole_after_each_epoch(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[str]
) -> None:
    monkeypatch.setattr(recording, "SECONDS", seconds)
    found: list[str] = []

    class Reader(Callback):
        def on_epoch_end(self, epoch: Epoch) -> None:
            found.append("".join(row["epoch"] for row in rows_of(tmp_path / "out.ckpt.history.csv")))

    train(callbacks=Reader())
    assert found == expected
    assert len(rows_of(tmp_path / "out.ckpt.history.csv")) == 4


def test_it_is_whole_as_soon_as_the_model_is_there(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "SECONDS", 1e6)
    found: list[tuple[bool, int]] = []

    class Reader(HistoryFile):
        def on_run_end(self) -> None:
            found.append(((tmp_path / "out.ckpt.index").exists(), len(rows_of(tmp_path / "out.ckpt.history.csv"))))

    monkeypatch.setattr(recording, "HistoryFile", Reader)
    train()
    assert found == [(True, 4)]


def test_a_run_that_went_on_has_its_whole_history(
    train: Callable[..., Run], stopped: Callable[[], None], tmp_path: Path
) -> None:
    stopped()
    path = tmp_path / "out.ckpt.history.csv"
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2"]
    path.unlink()
    run = train(resume=True, save_every="5 steps")
    assert rows_of(path) == [as_text(epoch) for epoch in run.history]
    assert [epoch.epoch for epoch in run.history] == [1, 2, 3, 4]


def test_what_an_epoch_does_not_have_is_empty(tmp_path: Path) -> None:
    written = HistoryFile(tmp_path / "out", overwrite=False)
    written.on_epoch_end(Epoch(1, 0.5, 0.25, None, 0.125, 8))
    assert (tmp_path / "out.history.csv").read_text() == (
        "epoch,loss,valid_loss,valid_accuracy,seconds,step,learning_rate\n1,0.5,0.25,,0.125,8,\n"
    )


def test_one_that_is_there_is_refused_before_the_first_step(
    train: Callable[..., Run], small: Path, tmp_path: Path
) -> None:
    path = tmp_path / "out.ckpt.history.csv"
    path.write_text("mine")
    with pytest.raises(ExistingOutput, match=r"out\.ckpt\.history\.csv exists already; `overwrite` replaces it"):
        train()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    run = train(overwrite=True)
    assert rows_of(path) == [as_text(epoch) for epoch in run.history]


def test_a_run_without_an_epoch_leaves_none(tmp_path: Path) -> None:
    recording: Any = HistoryFile(tmp_path / "out", overwrite=False)
    recording.on_run_begin([])
    recording.on_run_end()
    assert not list(tmp_path.iterdir())


def test_that_of_a_run_which_was_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "out", overwrite=False).on_epoch_end(Epoch(1, 0.5, 0.25, None, 0.125, 8))
    HistoryFile(tmp_path / "out", overwrite=False)
    (tmp_path / "out.run.json").write_text("{}")
    with pytest.raises(ExistingOutput):
        HistoryFile(tmp_path / "out", overwrite=False)
