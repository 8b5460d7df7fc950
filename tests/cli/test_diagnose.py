"""`diagnose` from the shell: a row per layer, in JSON and in a pipe."""

from pathlib import Path
from typing import Any


def test_a_row_per_layer(shell: Any, small: Path, data: Path) -> None:
    rows = shell.json("diagnose", small, "--data", data, "--rows", "50")
    assert [row["layer"] for row in rows] == ["hidden1", "hidden2", "outputs"]
    assert list(rows[0]) == [
        "layer",
        "output",
        "activation",
        "mean",
        "std",
        "gradient_mean",
        "gradient_std",
        "dead",
        "saturated",
        "gradient_to_weight",
        "verdict",
    ]
    assert rows[2]["activation"] is None
    lines = shell.lines("diagnose", small, "--data", data, "--rows", "50")
    assert [line.split("\t")[0] for line in lines] == ["hidden1", "hidden2", "outputs"]
    assert [line.split("\t")[-1] for line in lines] == [row["verdict"] for row in rows]


def test_data_that_does_not_fit_is_one_line(shell: Any, small: Path, tmp_path: Path) -> None:
    assert "no-such.npz" in shell.error("diagnose", small, "--data", tmp_path / "no-such.npz")
