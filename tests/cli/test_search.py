"""`search --quick` from the shell: a table, JSON, and commands for the best depth that run as they are printed."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np


def test_a_row_per_depth(shell: Any, small: Path, data: Path) -> None:
    found = shell.json("search", small, "--data", data, "--quick")
    assert [row["depth"] for row in found["depths"]] == [0, 1, 2]
    assert found["depths"][found["best"]]["rank"] == 1
    assert found["best"] in found["tied"]
    assert set(found["seconds"]) == {"features", "scores"}
    lines = shell.lines("search", small, "--data", data, "--quick")
    assert [line.split("\t")[:3] for line in lines] == [
        ["0", "the input", "4"],
        ["1", "hidden1", "8"],
        ["2", "hidden2", "6"],
    ]


def test_the_commands_that_are_printed_run(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(data) as arrays:
        x, hidden = arrays["x_train"], arrays["y_train"]
    for name, labels in {"classes": hidden, "amounts": x[:, 0] * 2.0, "labels": (x[:, :2] > 0).astype(int)}.items():
        np.savez(f"{name}.npz", x_train=x, y_train=labels)
        found = shell.json("search", small, "--data", f"{name}.npz", "--quick")
        for command in found["commands"]:
            tool, *words = shlex.split(command)
            assert tool == "ckpttool"
            shell.run(*words, "--overwrite")
        assert Path("tuned.ckpt.meta").exists()


def test_what_is_wrong_is_one_line(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    assert "specify --head, or --quick" in shell.error("search", small, "--data", data, "-o", tmp_path / "out.ckpt")
    with np.load(data) as arrays:
        np.savez(tmp_path / "one.npz", x_train=arrays["x_train"], y_train=np.full(300, 2))
    said = shell.error("search", small, "--data", tmp_path / "one.npz", "--quick")
    assert "one.npz: y_train: all 300 rows are of class 2, expected two classes or more" in said
