"""`search --quick` from the shell: a table, JSON, and commands for the best depth that run as printed."""

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import optuna
import pytest

from ckpttool import checkpoint
from ckpttool.cli.options.training import trial_options
from ckpttool.cli.show.search import MADE, TRAINED, SearchPrinter

TRIED = ("--head", "new = dense(3)", "--epochs", "2", "--seeds", "1", "--folds", "2", "--rope", "100", "--on", "here")


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


@pytest.mark.parametrize("kind", ["classes", pytest.param("amounts", marks=pytest.mark.slow), "labels"])
def test_the_commands_that_are_printed_run(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: Any, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(data) as arrays:
        x, hidden = arrays["x_train"], arrays["y_train"]
    labels = {"classes": hidden, "amounts": x[:, 0] * 2.0, "labels": (x[:, :2] > 0).astype(int)}[kind]
    np.savez(f"{kind}.npz", x_train=x, y_train=labels)
    found = shell.json("search", small, "--data", f"{kind}.npz", "--quick")
    for command in found["commands"]:
        tool, *words = shlex.split(command)
        assert tool == "ckpttool"
        shell.run(*words, *(("--epochs", "1") if words[0] == "finetune" else ()), "--overwrite")
    assert Path("tuned.ckpt.meta").exists()


def test_what_is_wrong_is_one_line(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    assert "or --quick, which needs none" in shell.error("search", small, "--data", data, "-o", tmp_path / "out.ckpt")
    with np.load(data) as arrays:
        np.savez(tmp_path / "one.npz", x_train=arrays["x_train"], y_train=np.full(300, 2))
    said = shell.error("search", small, "--data", tmp_path / "one.npz", "--quick")
    assert "one.npz: y_train: all 300 rows are of class 2, expected two classes or more" in said


def test_an_interrupted_search_prints_what_is_known_and_the_same_command_goes_on(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("search", small, "--data", data, *TRIED, "--keep", "1", "--tracker", "optuna")
    asked = (*asked, "-o", tmp_path / "best.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr(SearchPrinter, "on_trial", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        ended = shell.run(*asked, exit_code=130)
    assert "incomplete: interrupted; no model is written" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("Error: interrupted; the study has what is known")
    assert ended.stdout.count("\n") == 1
    assert not (tmp_path / "best.ckpt.meta").exists()
    assert "3 of 3 ways to keep and to freeze are tried at most, each on 2 blocks of rows" in ended.stderr
    found = shell.json(*asked)
    assert (found["ended"], found["output"]) == (None, str(tmp_path / "best.ckpt"))
    mirror = optuna.load_study(study_name="best.ckpt", storage=f"sqlite:///{tmp_path / 'best.ckpt.optuna.db'}")
    means = {(trial.params["keep"], trial.params["freeze"]): trial.value for trial in mirror.get_trials()}
    assert len(mirror.trials) == len(means) == 3
    judged = {(each["keep"], each["freeze"]): each["accuracy"] for each in found["configurations"]}
    assert means == pytest.approx(judged)


def test_frozen_layers_that_cannot_be_cached_are_not_by_the_last_run_and_the_commands(
    shell: Any, foreign: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    asked = (foreign("always_random"), "--data", data, *TRIED, "--keep", "2", "--freeze", "2", "--cache-dir", tmp_path)
    said = shell.run("search", *asked, "-o", tmp_path / "best.ckpt", "--json")
    assert "not cached: keep 2, freeze 2: " in said.stderr
    assert "random even in inference mode" in said.stderr
    found = json.loads(said.stdout)
    assert found["output"] == str(tmp_path / "best.ckpt")
    assert [command.count("--cache ") for each in found["configurations"] for command in each["commands"]] == [0] * 4


@pytest.mark.parametrize(
    ("keep", "freeze"),
    [("1", "0"), pytest.param("1", "1", marks=pytest.mark.slow), pytest.param("0", "0", marks=pytest.mark.slow)],
)
def test_the_commands_of_what_is_recommended_make_what_is_written(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, freeze: str
) -> None:
    """If kept layers are trained, the head is trained first, alone, by these commands too."""
    monkeypatch.chdir(tmp_path)
    asked = ("--keep", keep, "--freeze", freeze, "--seed", "7")
    Path("rates.toml").write_text('schedule = "exponential(0.5, steps=10)"\n')
    asked += ("--config", "rates.toml", "--plot", "best.png", "--preprocess", "scale(2)")
    found = shell.json("search", small, "--data", data, *TRIED, *asked, "-o", "best.ckpt")
    assert Path("best.png").read_bytes().startswith(b"\x89PNG")
    each = next(each for each in found["configurations"] if (each["keep"], each["freeze"]) == (int(keep), int(freeze)))
    assert ("--lp-ft 2" in each["commands"][1]) == (keep == "1" and freeze == "0")
    assert "--optimizer adam" in each["commands"][1], "what follows from the rows of trials is said"
    assert "--preprocess 'scale(2)'" in each["commands"][0]
    assert "--schedule 'exponential(0.5, steps=10)'" in each["commands"][1]
    for command in each["commands"]:
        shell.run(*shlex.split(command)[1:])
    if found["recommended"]["keep"] == int(keep):
        written, made = checkpoint.open("best.ckpt"), checkpoint.open("tuned.ckpt")
        for name in ("hidden1/kernel", "new/kernel"):
            np.testing.assert_array_equal(written[name].read(), made[name].read())


def test_bounds_are_spelled_as_options_and_rows_are_counted_before_the_first_trial(
    shell: Any, small: Path, data: Path, tmp_path: Path
) -> None:
    asked = ("search", small, "--data", data, *TRIED, "-o", tmp_path / "best.ckpt")
    assert "--keep '5': there is no depth 5; the model has 2" in shell.run(*asked, "--keep", "5", exit_code=2).stderr
    said = shell.run(*asked, "--rows", "20,900", exit_code=2)
    assert "--rows 900: there are" in said.stderr
    assert not list(tmp_path.glob("*.study"))
    early = shell.json(*asked, "--trials", "1")
    assert (early["recommended"]["keep"], early["output"]) == (None, None)
    assert early["recommended"]["why"] == "from scratch alone was judged, and compared with nothing"


def test_every_option_of_trials_goes_to_one_of_the_commands(shell: Any) -> None:
    @trial_options
    def command(options: object) -> None: ...

    names = {option.name for option in click.command()(command).params}
    read_from_the_source = {"labels", "logits", "loss", "accuracy", "training", "cache_dir"}
    assert names - MADE - TRAINED == read_from_the_source


def test_a_trial_that_fails_is_said(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    asked = ("search", small, "--data", data, *TRIED, "--keep", "0", "--optimizer", "sgd(1e30)")
    said = shell.run(*asked, "-o", tmp_path / "best.ckpt").stderr
    assert "failed: from scratch: the loss is not finite in epoch 1" in said


def test_options_without_an_effect_on_scores_are_refused(shell: Any, small: Path, data: Path) -> None:
    for options, names in {
        ("--report", "page.html"): "--report",
        ("--head", "outputs = dense(5)", "-o", "out.ckpt"): "--head, --output",
        ("--epochs", "3", "--seed", "2"): "--epochs",
    }.items():
        said = shell.error("search", small, "--data", data, "--quick", *options)
        assert said == f"{names}: --quick scores depths, it neither trains nor writes anything"
