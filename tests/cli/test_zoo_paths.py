"""`zoo:NAME` in place of any model path, in every command and option that takes one.

The tables below list, for each argument or option that is a path or file name, whether it is that of a model. A new one
that is in none of them fails the test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool import checkpoint
from ckpttool.cli import main
from ckpttool.cli.options.general import Written
from ckpttool.cli.options.reading import EntryOrPath, Source
from ckpttool.verbs.zoo_add import zoo_add

MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"
FORMS = ("zoo:digits", "zoo:digits@1", "zoo:digits:best")
OTHERS = {
    "--data": "rows",
    "--unlabelled": "rows",
    "--check": "rows",
    "--config": "options",
    "plan_file": "a plan",
    "patch": "a patch",
    "--rules": "rules",
    "--card": "a card",
    "--zoo": "a catalogue",
    "--classes": "names of classes",
    "--script": "edits",
    "--vocab": "tokens",
}
"""Options that read a path other than a model's, and its kind."""
ELSEWHERE = {"--weights": "an option of every command alike", "--against": "a hash, a lineage or an entry"}
"""Texts that may contain an entry's name; each has its own test below."""
FILES = ("FILE", "FOLDER", "MODEL", "SRC", "CKPT", "TARGET", "LINEAGE", "PATH", "DIR")
"""Words in the help of options that are file names."""


def commands(group: click.Group = main, name: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name}{each} ")
        else:
            yield f"{name}{each}", command


def parameters(own: click.Command) -> Iterator[tuple[click.Parameter, Any]]:
    """Yield each parameter with the type of its last value: `--unchanged RE OTHER` has two."""
    for each in own.params:
        yield each, each.type.types[-1] if isinstance(each.type, click.Tuple) else each.type


def takes_model(kind: Any) -> bool:
    return isinstance(kind, Source | EntryOrPath)


CASES = [
    pytest.param(own, each, id=f"{name} {each.opts[0]}")
    for name, own in commands()
    for each, kind in parameters(own)
    if takes_model(kind)
]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with a model of two revisions, the first of which is tagged."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    zoo_add(MODEL, "digits", tags=["best"])
    zoo_add(MODEL, "digits", metrics=["accuracy=1"])
    return tmp_path / "zoo"


def place(own: Path, form: str) -> Path:
    return own / "by-name" / "digits" / ("2" if form == "zoo:digits" else "1") / MODEL.name


@pytest.mark.parametrize(("command", "parameter"), CASES)
def test_an_entry_is_taken_wherever_a_model_is(own: Path, command: click.Command, parameter: click.Parameter) -> None:
    context = click.Context(command)
    for form in FORMS:
        value: Any = ("RE", form) if isinstance(parameter.type, click.Tuple) else form
        found = parameter.type_cast_value(context, (value,) if parameter.nargs == -1 or parameter.multiple else value)
        while isinstance(found, tuple):
            found = found[-1]
        assert found == place(own, form)


def test_of_every_path_it_is_known_whether_it_is_a_model() -> None:
    unknown = []
    for name, command in commands():
        for each, kind in parameters(command):
            words = (each.metavar or "").replace("|", " ").split()
            is_text = isinstance(kind, click.types.StringParamType)
            names_file = isinstance(kind, click.Path) or (is_text and {*words} & {*FILES})
            if takes_model(kind) or isinstance(kind, Written) or not names_file or name == "zoo push":
                continue
            if each.opts[0] not in OTHERS | ELSEWHERE:
                unknown.append(f"{name} {each.opts[0]} {each.metavar}")
    assert unknown == []
    assert len(CASES) > 40


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "command",
    [
        ("ops", "-"),
        ("vars", "-"),
        ("layers", "-"),
        ("show", "-", "hidden1/bias"),
        ("collections", "-"),
        ("diff", "-", MODEL),
        ("diff", MODEL, "-"),
        ("verify", "-"),
        ("verify", MODEL, "--unchanged", ".*", "-"),
        ("verify", MODEL, "--against", "-"),
        ("scan", "-"),
        ("stats", "-"),
        ("convert", "-", "--to", "safetensors", "--plan"),
        ("edit", "-", "--keep", "hidden1", "--plan", "--to", "safetensors"),
        ("merge", "-", MODEL, "--base", "-", "--how", "ties", "--plan"),
        ("reuse", MODEL, "--layers", "hidden1", "--into", "-", "--plan"),
        ("import", "-", "--into", "-", "--plan"),
    ],
    ids=lambda command: " ".join(str(each).rpartition("/")[2] for each in command),
)
def test_commands_do_what_they_do_with_the_file(own: Path, form: str, command: tuple[object, ...]) -> None:
    told = [run(*(name if each == "-" else each for each in command)) for name in (form, MODEL)]
    if "--against" in command:
        assert (told[0][0], told[1][0]) == (0, 2)  # a model's own path is neither a hash nor a lineage
    else:
        assert told[0][0] == told[1][0] == 0, told
        assert len(told[0][1].splitlines()) == len(told[1][1].splitlines())


def test_a_plan_may_name_an_entry(own: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plans" / "plan.toml"
    plan.parent.mkdir()
    plan.write_text('[sources]\nbase = "zoo:digits@1"\n[[step]]\nkeep = "hidden1"\n')
    code, text = run("apply", plan, "-o", tmp_path / "kept.safetensors")
    assert (code, set(checkpoint.open(tmp_path / "kept.safetensors"))) == (0, {"hidden1/kernel", "hidden1/bias"}), text


def test_another_file_than_the_entrys_is_told(own: Path, tmp_path: Path) -> None:
    checkpoint.save({"x": np.ones(3)}, tmp_path / "a.npz")
    checkpoint.save({"x": np.zeros(3)}, tmp_path / "b.npz")
    zoo_add(tmp_path / "a.npz", "a")
    assert run("verify", tmp_path / "a.npz", "--against", "zoo:a")[0] == 0
    code, text = run("verify", tmp_path / "b.npz", "--against", "zoo:a")
    assert (code, "expected sha256:" in text) == (1, True)


def test_the_weights_of_an_architecture_may_be_an_entrys(own: Path, tmp_path: Path) -> None:
    from ckpttool.cli.options.reading import model_argument, weights_file_option

    @click.command()
    @model_argument
    @weights_file_option
    def command(model: Path) -> None:
        click.echo(model)

    result = CliRunner().invoke(command, ["keras:MobileNetV2", "--weights", "zoo:digits@1"])
    named = place(own, "zoo:digits@1")  # a prefix, not a Keras file
    assert str(result.exception).startswith(f"{named} is missing: expected the `weights` of keras:MobileNetV2; ")


@pytest.mark.parametrize(
    ("form", "said"),
    {
        "zoo:digit": "has no entry digit; nearest: digits",
        "zoo:digits@7": "digits@7: a revision that digits has not; it has 1, 2",
        "zoo:digits:bets": "digits has no tag bets; nearest: best",
        "zoo:../digits": "names no entry: NAME, NAME@REVISION or NAME:TAG",
        "zoo:": "names no entry",
    }.items(),
)
def test_what_names_no_entry_is_said_in_one_line(own: Path, form: str, said: str) -> None:
    for command in (["layers", form], ["diff", MODEL, form], ["scan", form], ["verify", MODEL, "--against", form]):
        code, text = run(*command)
        assert code == 2
        assert said in text
        assert "Traceback" not in text


def test_nothing_is_written_to_an_entry(own: Path) -> None:
    code, text = run("convert", MODEL, "--to", "safetensors", "-o", "zoo:new")
    assert (code, "zoo:new is an entry of the catalogue: write a file" in text) == (2, True)
