"""Recordings of a run, requested on the command line: rejected before the first step, repeated by the run's report."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCHS = ["--epochs", "2", "--batch-size", "135"]


def test_history_events_and_plot(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    out, events, plot = tmp_path / "out.ckpt", tmp_path / "events", tmp_path / "run.png"
    asked = ["--tensorboard", events, "--plot", plot]
    history = shell.json("finetune", small, "--data", data, *EPOCHS, *asked, "-o", out)["history"]
    with Path(f"{out}.history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history
    found = EventAccumulator(str(events)).Reload()
    assert [event.step for event in found.Scalars("loss")] == [2, 4]
    assert len(found.Tags()["histograms"]) == 6
    with Image.open(plot) as image:
        assert image.size == (1200, 1140)
    options = json.loads(Path(f"{out}.run.json").read_text())["options"]
    assert (options["tensorboard"], options["plot"]) == (str(events), str(plot))


def test_a_run_that_repeats_another_records_nothing_over_it(
    shell: Any, small: Path, data: Path, tmp_path: Path
) -> None:
    first, events, plot = tmp_path / "first.ckpt", tmp_path / "events", tmp_path / "run.png"
    shell.run("finetune", small, "--data", data, *EPOCHS, "--tensorboard", events, "--plot", plot, "-o", first)
    before = {path: path.read_bytes() for path in [plot, *events.iterdir()]}
    again = ["finetune", "--config", f"{first}.run.json", "-o", tmp_path / "again.ckpt"]
    shell.run(*again, "--plot", tmp_path / "more.pdf")
    assert (tmp_path / "more.pdf").read_bytes().startswith(b"%PDF")
    assert {path: path.read_bytes() for path in [plot, *events.iterdir()]} == before


def test_a_run_says_where_it_is_saved(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    result = shell.run("finetune", small, "--data", data, *EPOCHS, "--save-every", "1 epoch", "-o", tmp_path / "o.ckpt")
    saved = [line for line in result.stderr.splitlines() if line.startswith("saved as ")]
    assert saved == [f"saved as {tmp_path}/o.ckpt.saves/step-0000000{step}.ckpt" for step in (2, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "{at}/run.jpeg"], "--plot {at}/run.jpeg: expected a name that ends with .png, .pdf, .svg"),
        (
            ["--plot", "{at}/none/run.png"],
            "{at}/none/run.png: the folder {at}/none does not exist; `mkdir -p {at}/none` creates it",
        ),
        (["--plot", "{at}/there.png"], "{at}/there.png exists already; --overwrite replaces it"),
        (["--tensorboard", "{at}/there.png"], "{at}/there.png is a file, expected a folder for event files"),
        (["--tensorboard", "{at}/there.png/events"], "{at}/there.png/events: Not a directory"),
        (["--tensorboard", "/proc/none"], "/proc/none: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_first_step(
    shell: Any, small: Path, data: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "there.png").write_text("mine")
    asked = [option.format(at=tmp_path) for option in options]
    result = shell.run("finetune", small, "--data", data, *asked, "-o", tmp_path / "out.ckpt", exit_code=2)
    assert result.stderr.splitlines()[-1] == f"Error: {message.format(at=tmp_path)}"
    assert "epoch" not in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
