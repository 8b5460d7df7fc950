"""`predict`: the outputs of a model for each row, as a file, a line and JSON."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.cli.options.workers import Place
from ckpttool.model.model import Model

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_the_chapters_network_says_which_digit_each_row_is(shell: Any, model: Path, tmp_path: Path) -> None:
    digits, out = FIXTURES / "mnist_small.npz", tmp_path / "out.npz"
    result = shell.run("predict", model, "--data", digits, "-o", out)
    assert result.stdout == (
        f"{out}: rows, classes, probabilities, logits of 2000 rows, from dnn/outputs/BiasAdd:0, the logits\n"
    )
    assert "data: x_test: uint8 divided by 255 for the float input X" in result.stderr
    with np.load(out, allow_pickle=False) as found, np.load(digits, allow_pickle=False) as known:
        accuracy = (found["classes"] == known["y_test"]).mean()
    assert accuracy == pytest.approx(shell.json("evaluate", model, "--data", digits)["accuracy"])


def test_json_says_what_was_written(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    found = shell.json("predict", small, "--data", data, "--split", "train", "-o", tmp_path / "out.csv")
    assert found == {
        "output": str(tmp_path / "out.csv"),
        "rows": 300,
        "tensor": "dnn/outputs/BiasAdd:0",
        "why": "the logits",
        "arrays": {"rows": [300], "classes": [300], "probabilities": [300, 3]},
        "classes": [],
    }


def test_outputs_are_asked_for_and_not_replaced(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert shell.error("predict", small, "--data", data).startswith("Missing option '-o'")
    shell.run("predict", small, "--data", data, "-o", out, "--tensor", "dnn/hidden1/Relu")
    written = out.read_bytes()
    assert shell.error("predict", small, "--data", data, "-o", out) == f"{out} exists already; --overwrite replaces it"
    assert out.read_bytes() == written
    shell.run("predict", small, "--data", data, "-o", out, "--overwrite")
    assert out.read_text().startswith("row,class,probability_0,")


@pytest.mark.slow
def test_a_worker_writes_what_this_process_does(shell: Any, model: Path, tmp_path: Path) -> None:
    digits, alone, out = FIXTURES / "mnist_small.npz", tmp_path / "alone.npz", tmp_path / "out.npz"
    shell.run("predict", model, "--data", digits, "-o", alone)
    result = shell.run("predict", model, "--data", digits, "-o", out, "--on", "processes", "--workers", "1")
    assert "1 worker (as asked for; " in result.stderr
    assert out.read_bytes() == alone.read_bytes()


def test_several_workers_are_processes_and_one_is_this_process(model: Path) -> None:
    opened = Model.open(model)
    with Place(None, 1).executor(opened) as executor:
        assert executor is None
    with Place(None, 2).executor(opened) as executor:
        assert executor is not None
        assert (executor.name, executor.workers) == ("processes", 2)
        assert executor.notes[0].startswith("2 workers (as asked for; ")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--workers", "0"], "Invalid value for '--workers': 0 is not in the range x>=1 (see main predict --help)"),
        (["--on", "spark"], "no executor is named 'spark': there are here, processes, ray"),
        (["--on", "here", "--workers", "2"], "--workers 2: here is this process alone; --on processes has more"),
    ],
)
def test_a_place_that_is_none_is_an_error(
    shell: Any, small: Path, data: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    assert shell.error("predict", small, "--data", data, "-o", tmp_path / "out.csv", *options) == problem
    assert not (tmp_path / "out.csv").exists()


def test_without_ray_the_error_says_what_brings_it(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = shell.error("predict", small, "--data", data, "-o", tmp_path / "out.csv", "--on", "ray")
    assert found.startswith("--on ray needs Ray (")
    assert found.endswith("): pip install 'ckpttool[ray]'")
