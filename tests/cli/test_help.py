"""Help: groups of options, their order, other names for commands, and shell completion."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ckpttool import __version__
from ckpttool.cli import ABOUT_ITSELF, ALIASES, COMMANDS, SHORT, main
from ckpttool.cli.show.help import FIRST, GROUPS, IN_ORDER, OWN, LongHelp, grouped, long_name
from ckpttool.cli.summaries import SUMMARIES

LONG = sorted(FIRST)


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def text(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_list_of_commands_imports_none() -> None:
    probe = "import sys; from ckpttool.cli import main\ntry:\n    main(['--help'])\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert [name for name in modules if name.startswith("ckpttool.cli.commands")] == []
    assert {"numpy", "rich", "google.protobuf"} & set(modules) == set()


def test_every_line_of_the_list_is_the_commands_own() -> None:
    names = [*COMMANDS, *ABOUT_ITSELF]
    assert {name: command_of(name).get_short_help_str(SHORT) for name in names} == SUMMARIES


@pytest.mark.parametrize("name", LONG)
def test_a_long_help_shows_what_matters_first_and_names_all_others(name: str) -> None:
    command = command_of(name)
    assert isinstance(command, LongHelp)
    options = {long_name(each): each for each in command.params if isinstance(each, click.Option)}
    first = FIRST[name].split()
    assert [each for each in first if each not in options] == []
    shown = text(name, "--help")
    matter, _, others = shown.partition("Others, which --help-all explains")
    for each, option in options.items():
        if len(options) > 12 and not option.hidden:
            assert f"--{each}" in (matter if each in first else others), each


@pytest.mark.parametrize("name", LONG)
def test_all_options_stand_in_groups(name: str) -> None:
    shown = text(name, "--help-all")
    headings = [line.removesuffix(":") for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [each for each in (IN_ORDER, OWN, *GROUPS) if each in headings]
    assert "Output" in headings
    assert (IN_ORDER in headings) is (name == "edit")
    for option in command_of(name).params:
        if isinstance(option, click.Option):
            assert f"--{long_name(option)}" in shown


def test_no_option_is_in_two_groups() -> None:
    names = [name for group in GROUPS.values() for name in group.split()]
    assert len(names) == len(set(names))
    assert list(grouped([click.Option(["--odd"]), click.Option(["--lr"])])) == [OWN, "Optimizer"]


def test_help_is_a_command_too() -> None:
    assert text("help", "vars") == text("vars", "--help")
    assert text("help", "zoo", "add") == text("zoo", "add", "--help")
    assert text("help", "cache", "list") == text("cache", "list", "--help")
    assert text("help") == text("--help")
    assert text("help", "finetune", "--all") == text("finetune", "--help-all")
    assert text("help", "fold") == text("help", "freeze-graph")


def test_what_is_not_there_suggests_what_is(shell: Any, model: Path) -> None:
    assert "No such command 'fintune'; nearest: finetune" in shell.error("fintune", model)
    assert "No such command 'vras'; nearest: vars" in shell.error("help", "vras")
    assert "--stats" in shell.error("vars", model, "--stat")
    assert "No such command 'ad'; nearest: add" in shell.error("zoo", "ad")


@pytest.mark.parametrize("alias", ALIASES)
def test_other_names_lead_to_a_command_and_are_none_of_ours(alias: str) -> None:
    assert ALIASES[alias] in COMMANDS and alias not in COMMANDS
    assert text(alias, "--help") == text(ALIASES[alias], "--help")


def test_the_history_has_the_commands_own_name(shell: Any, model: Path, tmp_path: Path) -> None:
    shell.run("modernise", model, "-o", tmp_path / "modern.ckpt")
    assert shell.lines("log", tmp_path / "modern.ckpt")[0].split()[1:3] == ["ckpttool", "modernize"]


def test_a_dry_run_is_a_plan(shell: Any, model: Path, tmp_path: Path) -> None:
    edit = ("edit", model, "--rename", "hidden1=>first", "-o", tmp_path / "out.ckpt")
    assert shell.lines(*edit, "--dry-run") == shell.lines(*edit, "--plan")
    assert not list(tmp_path.iterdir())


def test_quiet_leaves_the_answer_alone(shell: Any, model: Path) -> None:
    for words in (("-q", "layers", model), ("layers", model, "-q"), ("layers", model, "--quiet")):
        result = shell.run(*words)
        assert (len(result.stdout.splitlines()), result.stderr) == (6, "")
    assert shell.run("layers", model).stderr != ""
    assert "gone" in shell.error("-q", "vars", "gone.ckpt")


def test_the_version_has_a_short_option_and_needs_nothing() -> None:
    assert text("-V") == text("--version") == f"ckpttool, version {__version__}\n"
    command = [sys.executable, "-m", "ckpttool", "-V"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == text("-V")


COMPLETED = [
    ("show MODEL hidden1/", 3, ["hidden1/bias", "hidden1/kernel"]),
    ("finetune MODEL --freeze out", 4, ["outputs"]),
    ("reuse MODEL --layers hidden", 4, [f"hidden{number}" for number in range(1, 6)]),
    ("rules bert-p", 2, ["bert-pytorch-tf1"]),
    ("fine", 1, ["finetune"]),
    ("vars MODEL --sta", 3, ["--stats"]),
    ("show gone.ckpt h", 3, []),
]


@pytest.mark.parametrize(("words", "place", "found"), COMPLETED, ids=[words for words, _, _ in COMPLETED])
def test_a_shell_completes_names(words: str, place: int, found: list[str], model: Path) -> None:
    line = f"ckpttool {words.replace('MODEL', str(model))}"
    environment = {"_CKPTTOOL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(place)}
    result = CliRunner(env=environment).invoke(main, [], prog_name="ckpttool")
    assert [each.partition(",")[2] for each in result.stdout.split()] == found


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_what_a_shell_is_to_read_is_printed(shell_name: str) -> None:
    assert "_CKPTTOOL_COMPLETE" in text("completion", shell_name)


def test_a_shell_that_is_not_known(shell: Any) -> None:
    assert "'tcsh' is not one of" in shell.error("completion", "tcsh")
