"""Confined runs: others' files give the same result; files that this user has made run unconfined."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import click
import pytest

from ckpttool.cli import COMMANDS, main
from ckpttool.confinement.landlock import version

confined = pytest.mark.skipif(not version(), reason="the kernel has no Landlock")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of a command run as a process, and its last line."""
    command = [sys.executable, "-m", "ckpttool", *arguments]
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


def known(folder: Path) -> int:
    """The number of known graphs."""
    file = folder / "state" / "ckpttool" / "known-graphs.txt"
    return len(file.read_text().split()) if file.exists() else 0


@pytest.fixture
def reading(new_network: type[Any], tmp_path: Path) -> Path:
    """A model whose graph reads a file elsewhere."""
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text("secret")
    network = new_network()
    with network.building():
        X, _, _ = network.inputs()
        length = network.tf.strings.length(network.tf.io.read_file(str(tmp_path / "secret")))
        network.tf.add(network.dense(X, 3, "fc"), network.tf.cast(length, "float32"), name="logits")
    return network.save(tmp_path / "work" / "reads.ckpt")


@confined
def test_what_others_wrote_reads_what_the_command_was_given_alone(reading: Path, data: Path) -> None:
    command = [
        "predict",
        reading.name,
        "--data",
        str(data),
        "--tensor",
        "logits:0",
        "-o",
        "out.npz",
        "--allow-op",
        "ReadFile",
    ]
    code, said = run(reading.parent, *command)
    assert code == 2
    assert (
        "secret; Permission denied; reads.ckpt, which ckpttool did not write, runs with what it was given alone" in said
    )
    assert "--trust lifts that" in said
    assert run(reading.parent, *command, "--trust")[0] == 0


@confined
def test_what_is_made_of_ones_own_is_known_and_what_is_made_of_others_is_not(model: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "new", "--input", "4", "--layers", "fc = dense(3)", "-o", "own.ckpt")[0] == 0
    assert known(tmp_path) == 1
    assert run(tmp_path, "collections", "own.ckpt", "--add", "inputs", "X:0", "-o", "more.meta")[0] == 0
    assert known(tmp_path) == 2
    assert run(tmp_path, "collections", str(model), "--add", "inputs", "X:0", "-o", "others.meta")[0] == 0
    assert known(tmp_path) == 2


@confined
def test_what_gets_its_graph_from_a_file_of_others_is_not_known(tmp_path: Path) -> None:
    own = ["new", "--input", "4", "--layers", "fc = dense(3)", "-o", "own.keras"]
    assert run(tmp_path, *own)[0] == 0
    with ZipFile(tmp_path / "own.keras") as archive, ZipFile(tmp_path / "others.keras", "w") as others:
        for each in archive.infolist():
            others.writestr(each.filename, archive.read(each).replace(b"date_saved", b"saved_date"))
    (tmp_path / "plan.toml").write_text('[sources]\na = "others.keras"\n[[step]]\nscale = "fc=2"\n')
    assert run(tmp_path, "edit", "own.keras", "--scale", "fc=2", "--like", "others.keras", "-o", "like.keras")[0] == 0
    assert run(tmp_path, "apply", "plan.toml", "-o", "applied.keras")[0] == 0
    assert known(tmp_path) == 1
    assert run(tmp_path, "edit", "own.keras", "--scale", "fc=2", "--like", "own.keras", "-o", "mine.keras")[0] == 0
    assert known(tmp_path) == 2


def test_a_users_folder_that_cannot_be_written_is_no_reason_to_fail(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file where a folder would be")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shell.run("new", "--input", "4", "--layers", "fc = dense(3)", "-o", tmp_path / "own.ckpt")
    assert (tmp_path / "own.ckpt.index").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_may_run_ops_of_others_is_confined(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    options = {option.name for option in command.params}
    assert ("allow_op" in options) == ("trust" in options)


def test_a_file_of_options_trusts_nothing(shell: Any, model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text("trust = true\n")
    said = shell.error("evaluate", model, "--data", data, "--config", tmp_path / "options.toml")
    assert "trust: can only be specified on the command line" in said
