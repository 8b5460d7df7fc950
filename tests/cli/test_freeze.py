"""`freeze` from the shell: its output, errors, and what stays unchanged. Its effect is tested in tests/verbs."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool import checkpoint


@pytest.mark.parametrize("method", ["var-list", "stop-gradient"])
def test_the_values_stay_and_the_cut_is_named(shell: Any, small: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "frozen.ckpt"
    result = shell.run("freeze", small, "--layers", "hidden[12]", "--method", method, "-o", out)
    assert [line.split("\t")[4] for line in result.stdout.splitlines()] == ["frozen"] * 4 + ["trained"] * 2
    assert "the cut: dnn/hidden2/Elu:0" in result.stderr
    assert result.stderr.endswith(f"{out}: written and read back, 4 variables frozen\n")
    shell.run("verify", out, "--unchanged", ".*", small)
    assert set(checkpoint.open(out)) == set(checkpoint.open(small))


def test_finetune_keeps_what_freeze_froze(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    shell.run("freeze", small, "--layers", "hidden1", "-o", tmp_path / "frozen.ckpt")
    options = ["--data", data, "--epochs", "1", "-o", tmp_path / "out.ckpt"]
    run = shell.json("finetune", tmp_path / "frozen.ckpt", *options)
    assert run["unchanged"] == ["hidden1/kernel", "hidden1/bias"]
    message = shell.error(
        "finetune", tmp_path / "frozen.ckpt", "--train", "hidden1", "--data", data, "-o", tmp_path / "o"
    )
    assert "which the graph itself keeps frozen" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "hiden1"], "pattern 'hiden1' matches nothing; nearest: hidden1, hidden2, hidden1/bias"),
        (["--layers", "hidden("], "'hidden(' is not a regular expression: missing ), unterminated subpattern"),
        (["--layers", ".*"], "{small}: no layer is left to train: '.*' freezes all 6 weights"),
        (["--layers", "hidden1", "--loss", "los"], "{small}.meta: --loss los: no such op or tensor"),
        (["--layers", "hidden1", "--method", "hope"],
         "Invalid value for '--method': 'hope' is not one of 'var-list', 'stop-gradient' (see main freeze --help)"),
    ],
)  # fmt: skip
def test_wrong_uses_are_refused(shell: Any, small: Path, tmp_path: Path, options: list[str], message: str) -> None:
    found = shell.error("freeze", small, *options, "-o", tmp_path / "o")
    assert found.startswith(message.format(small=small))
    assert not list(tmp_path.iterdir())


def test_a_plan_writes_nothing_and_needs_no_output(shell: Any, small: Path, tmp_path: Path) -> None:
    arguments = ["freeze", small, "--layers", "hidden1"]
    assert [row["train"] for row in shell.json(*arguments, "--plan")] == [False] * 2 + [True] * 4
    assert shell.json(*arguments, "--plan", "-o", tmp_path / "out") == shell.json(*arguments, "--plan")
    assert not list(tmp_path.iterdir())
    assert shell.error(*arguments) == "Missing option '-o' / '--output' (see main freeze --help)"


def test_the_model_may_be_overwritten_with_its_own_values(shell: Any, small: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.ckpt"
    shell.run("reuse", small, "--layers", ".*", "-o", own)
    shell.run("freeze", own, "--layers", "hidden1", "-o", own, "--overwrite")
    shell.run("verify", own, "--unchanged", ".*", small)
    assert "removed from the training op" not in shell.run("freeze", own, "--layers", "hidden1", "--plan").stderr
