"""`lr-find`: a chart, rows for programs, a rate to paste, and no output files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.cli.commands.lr_find import chart
from ckpttool.training.rate_curve import Point, RateCurve

FAST = ["--batch-size", "30"]


def test_a_pipe_gets_rows_and_the_suggestion_is_said(shell: Any, small: Path, data: Path) -> None:
    before = {path.name: path.read_bytes() for path in small.parent.iterdir()}
    result = shell.run("lr-find", small, "--data", data, *FAST)
    rows = [[float(cell) for cell in line.split("\t")] for line in result.stdout.splitlines()]
    assert {len(row) for row in rows} == {3}
    assert rows[0][0] == 1e-6
    assert rows[0][1] == rows[0][2]
    found = shell.json("lr-find", small, "--data", data, *FAST)
    assert result.stderr.splitlines()[-1] == f"suggestion: --lr {found['suggestion']:.2g}"
    assert found.keys() == {"suggestion", "steepest", "valley", "minimum", "diverged", "curve"}
    assert [point["rate"] for point in found["curve"]] == pytest.approx([row[0] for row in rows], rel=1e-5)
    assert found["curve"][0].keys() == {"rate", "loss", "smoothed"}
    assert {path.name: path.read_bytes() for path in small.parent.iterdir()} == before


def test_the_suggestion_can_be_pasted(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    trained = ["--freeze", "hidden1", "--optimizer", "momentum", "--l2", "0.001", *FAST]
    said = shell.run("lr-find", small, "--data", data, *trained).stderr.splitlines()[-1]
    rate = said.removeprefix("suggestion: ").split()
    shell.run("finetune", small, "--data", data, *trained, *rate, "--epochs", "1", "-o", tmp_path / "out.ckpt")


def test_a_terminal_gets_a_chart(shell: Any, small: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTTOOL_TABLE", "1")
    lines = shell.lines("lr-find", small, "--data", data, *FAST)
    assert max(map(len, lines)) < 80
    assert len(lines) == 14
    assert "*" in lines[0]
    assert "^" in lines[-2]
    assert lines[-1].split()[:2] == ["rate", "1e-06"]


def test_the_lines_of_a_chart() -> None:
    """From the first loss at the top down to the lowest, and the last one, far above, in the top row."""
    points = [Point(10.0 ** (place - 8), 0, loss) for place, loss in enumerate([2.0, 2, 2, 1, 1, 1, 1, 99])]
    lines = list(chart(RateCurve(points, 0)))
    assert lines[0] == "         2 |*        *        *" + " " * 44 + "*"
    assert lines[11] == "         1 |" + " " * 27 + "*        *        *        *"
    assert lines[12] == "      loss +" + "-" * 64
    assert lines[13] == "      rate  1e-08" + " " * 56 + "0.1"
    assert all(line == " " * 11 + "|" for line in lines[1:11])
    assert list(chart(RateCurve(points[:1], 0))) == []


def test_without_a_descent_the_answer_is_no(shell: Any, small: Path, data: Path) -> None:
    low = ["--from", "1e-12", "--to", "1e-10"]
    found = shell.json("lr-find", small, "--data", data, *FAST, *low, exit_code=1)
    assert [found[name] for name in ("suggestion", "steepest", "valley", "minimum", "diverged")] == [None] * 5
    assert len(found["curve"]) == 100
    result = shell.run("lr-find", small, "--data", data, *FAST, *low, exit_code=1)
    assert result.stderr.splitlines()[-1].startswith("nothing to suggest: ")


def test_a_loss_that_still_falls_is_said(shell: Any, small: Path, data: Path) -> None:
    result = shell.run("lr-find", small, "--data", data, *FAST, "--to", "0.1")
    assert "the loss was still decreasing at the end: a higher --to may show a better rate" in result.stderr


def test_a_picture(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    command = ["lr-find", small, "--data", data, *FAST, "--plot", path]
    shell.run(*command)
    written = path.read_bytes()
    assert written.startswith(b"\x89PNG\r\n")
    assert [each.name for each in tmp_path.iterdir()] == ["curve.png"]
    path.write_text("mine")
    assert shell.error(*command) == f"{path} exists already; --overwrite replaces it"
    assert path.read_text() == "mine"
    shell.run(*command, "--overwrite")
    assert path.read_bytes() == written


def test_rows_that_are_few_are_gone_over_again(shell: Any, small: Path, tmp_path: Path) -> None:
    x, y = np.eye(6, 4, dtype=np.float32), np.arange(6) % 3
    np.savez(tmp_path / "few.npz", x_train=x[:4], y_train=y[:4], x_valid=x[4:], y_valid=y[4:])
    found = shell.json("lr-find", small, "--data", tmp_path / "few.npz", "--batch-size", "2", "--steps", "50")
    assert len(found["curve"]) > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr", "0.1"], "No such option '--lr'"),
        (["--schedule", "cosine"], "No such option '--schedule'"),
        (["--warmup", "3"], "No such option '--warmup'"),
        (["--stages", "outputs=3"], "No such option '--stages'"),
        (["--optimizer", "adam(0.1)"], "--optimizer 'adam(0.1)' has a rate, but this command determines the rate"),
        (["--optimizer", "adm"], "no optimizer adm; known: "),
        (["--freeze", "hidn1"], "pattern 'hidn1' matches nothing; nearest: hidden1"),
        (["--freeze", ".*"], "{small}.meta: no layer is left to train"),
        (["--cache"], "--cache needs frozen layers"),
        (["--from", "1", "--to", "0.1"], "100 steps from 1.0 to 0.1: expected two steps or more, from a rate above 0"),
        (["--from", "nan"], "100 steps from nan to 10.0: expected"),
        (["--steps", "3"], "Invalid value for '--steps': 3 is not in the range x>=20"),
        (["--plot", "/no/such/run.png"], "/no/such/run.png: the folder /no/such does not exist; `mkdir -p /no/such`"),
    ],
)
def test_wrong_uses_are_refused(shell: Any, small: Path, data: Path, options: list[str], message: str) -> None:
    assert shell.error("lr-find", small, "--data", data, *options).startswith(message.format(small=small))
