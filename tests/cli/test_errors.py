"""Errors: parameters in them are spelled as the options of the running command; exit codes."""

from pathlib import Path
from typing import Any

import click
import pytest

from ckpttool.cli.show import errors
from ckpttool.cli.show.errors import spelled
from ckpttool.cli.show.tables import say
from ckpttool.core.errors import Interrupted, MissingFile


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("names", nargs=-1)
@click.option("--train-op", "training_op")
@click.option("-o", "--output")
@click.option("--valid", type=int)
@click.option("--no-graph", "with_graph", flag_value=False, default=True)
@click.option("--cache", is_flag=True)
def command(**_given: object) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x exists already; `output` names another", "x exists already; --output names another"),
        ("`valid` 600: 500 rows", "--valid 600: 500 rows"),
        ("`training_op` changes no variable", "--train-op changes no variable"),
        ("`model` and `names` are needed", "MODEL and NAMES are needed"),
        ("`with_graph=False` and `cache=True`", "--no-graph and --cache"),
        ("`with_graph=True` and `cache=False`", "`with_graph=True` and `cache=False`"),
        ("`overwrite` and `tf.function` and `RE=>NEW`", "`overwrite` and `tf.function` and `RE=>NEW`"),
        ("output, valid and 'model'", "output, valid and 'model'"),
    ],
)
def test_parameters_are_spelled_as_the_options_of_the_command(text: str, expected: str) -> None:
    assert spelled(text, command) == expected


def test_without_a_command_a_text_stays_as_it_is() -> None:
    assert spelled("`output` is needed", None) == "`output` is needed"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MissingFile("a: `model` is\nneeded"), 2, "Error: a: MODEL is needed\n"),
        (PermissionError(13, "Permission denied", "a.meta"), 2, "Error: a.meta: Permission denied\n"),
        (OSError("no space"), 2, "Error: no space\n"),
        (Interrupted("saved; `cache` goes on", 15), 143, "Error: saved; --cache goes on\n"),
        (KeyboardInterrupt(), 130, "Error: interrupted\n"),
        (click.Abort(), 130, "Error: interrupted\n"),
        (click.UsageError("No such command 'x'."), 2, "Error: No such command 'x'\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert errors.show(error, command) == code
    assert capsys.readouterr() == ("", line)


def test_a_wrong_usage_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    errors.show(click.UsageError("Missing argument.", click.Context(command, info_name="command")))
    assert capsys.readouterr().err == "Error: Missing argument (see command --help)\n"


def test_notes_are_spelled_too(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(command):
        say("2 rows; `valid` specifies how many")
    say("`valid`")
    assert capsys.readouterr().err == "2 rows; --valid specifies how many\n`valid`\n"


def test_an_error_of_a_command_has_the_commands_options(shell: Any, copied: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.npz"
    taken.write_bytes(b"")
    assert shell.error("convert", copied, "-o", taken) == f"{taken} exists already; --overwrite replaces it"
