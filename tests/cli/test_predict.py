"""`predict`: what a model says of each row, as a file, a line and JSON."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
