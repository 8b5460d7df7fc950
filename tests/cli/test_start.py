"""Start: commands that inspect and edit do not import TensorFlow, help always works, errors are one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ckpttool.cli import BESIDE, COMMANDS, main
from ckpttool.cli.commands.zoo import SUBCOMMANDS

HEAVY = {"tensorflow", "keras", "h5py", "rich", "ml_dtypes", "cramjam"}
PROBE = """
import sys
from ckpttool.cli import main
try:
    main(sys.argv[1:], prog_name="ckpttool")
finally:
    print("MODULES", *sorted(sys.modules), file=sys.stderr)
"""


def modules_after(*arguments: str | Path) -> set[str]:
    """The modules that a command has imported when it succeeds, and their packages."""
    command = [sys.executable, "-c", PROBE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = done.stderr.splitlines()[-1].split()[1:]
    return {*names, *(name.partition(".")[0] for name in names)}


@pytest.mark.parametrize(
    "arguments",
    [
        ("ops", "MODEL"),
        ("vars", "MODEL"),
        ("vars", "MODEL", "--stats"),
        ("layers", "MODEL"),
        ("show", "MODEL", "outputs/bias"),
        ("collections", "MODEL"),
        ("collections", "MODEL", "--add", "key", "X:0", "-o", "OUT.meta"),
        ("diff", "MODEL", "MODEL"),
        ("verify", "MODEL"),
        ("stats", "MODEL"),
        ("average", "MODEL", "MODEL", "--plan"),
    ],
    ids=" ".join,
)
def test_looking_imports_nothing_heavy(arguments: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    named = {"MODEL": str(model), "OUT.meta": str(tmp_path / "out.meta")}
    assert modules_after(*(named.get(word, word) for word in arguments)) & HEAVY == set()


LOOKED_AT = {
    "vars": ("ckpttool.model.graphs", "ckpttool.graph.rewrite.prune", "numpy"),
    "layers": ("ckpttool.graph.rewrite.prune", "ckpttool.formats.hdf5.tree", "numpy"),
    "ops": ("ckpttool.graph.rewrite.prune", "ckpttool.formats.hdf5.tree", "numpy"),
    "verify": ("ckpttool.model.graphs", "ckpttool.graph.rewrite.prune", "numpy"),
    "diff": ("ckpttool.model.graphs", "ckpttool.formats.patch.file", "ckpttool.formats.hdf5.tree"),
}
"""Modules that commands on a checkpoint or a TensorFlow 1 graph do not import, in addition to `RUNS`."""
RUNS = ("ckpttool.model.model", "ckpttool.model.keras_model", "ckpttool.surgery.edits", "ckpttool.training.run_report")
"""Modules for running models."""


@pytest.mark.parametrize("command", LOOKED_AT)
def test_looking_at_a_graph_imports_nothing_to_run_it(command: str, model: Path) -> None:
    found = modules_after(command, model, *([model] if command == "diff" else []))
    assert found & {*LOOKED_AT[command], *RUNS} == set()
    assert {name for name in found if name.startswith("ckpttool.runtime.")} == {"ckpttool.runtime.configure"}


def test_a_tensor_is_shown_without_what_is_for_data_and_masked_arrays(model: Path) -> None:
    found = modules_after("show", model, "outputs/bias")
    assert found & {"ckpttool.data", "ckpttool.runtime.augmentations", "numpy.ma"} == set()


def test_names_and_bytes_of_a_checkpoint_are_told_without_numpy(model: Path, tmp_path: Path) -> None:
    rename = ("edit", model, "--rename", "hidden1=>first", "--no-graph", "-o", tmp_path / "edited.ckpt")
    for arguments in (("vars", model), rename, ("convert", model, "-o", tmp_path / "converted.safetensors")):
        assert "numpy" not in modules_after(*arguments)


def test_help_of_everything_imports_nothing_heavy() -> None:
    assert modules_after("--help") & HEAVY == set()


NAMES = [
    *COMMANDS,
    *(f"zoo {name}" for name in SUBCOMMANDS),
    *(f"{name} {each}" for name, beside in BESIDE.items() for each in beside),
]
"""All commands, including subcommands."""


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert "Example:" in result.stdout
    assert f"ckpttool {name} " in result.stdout.partition("Example:")[2]


def test_help_lists_every_command_under_its_heading() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    listed = {}
    for section in shown.split("\n\n"):
        heading, *lines = section.splitlines()
        listed |= {line.split()[0]: heading.removesuffix(":") for line in lines if line[:3].strip()}
    assert {name: listed.get(name) for name in COMMANDS} == {name: heading for name, (heading, _) in COMMANDS.items()}
    assert [shown.count(f"\n{heading}:\n") for heading in ("Look", "Change", "Transfer", "Keep")] == [1, 1, 1, 1]


def test_a_wrong_command_or_option_is_one_line(shell: Any, model: Path) -> None:
    assert shell.error("vras", model).startswith("No such command 'vras'")
    assert shell.error("vars", model, "--statz").startswith("No such option")
    assert shell.error("vars").startswith("Missing argument 'CKPT'")


def test_the_module_runs_as_the_command_does(model: Path) -> None:
    command = [sys.executable, "-m", "ckpttool", "vars", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 12


def test_a_reader_that_goes_away_is_no_error(model: Path) -> None:
    command = [sys.executable, "-m", "ckpttool", "ops", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from ckpttool.cli.show.tables import print_rows

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_rows([{"name": "[bold]x[/bold]", "shape": [2, 3]}], ("name", "shape"))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["name            shape", "[bold]x[/bold]  [2, 3]"]


def test_a_log_gets_a_table_where_it_asks_for_one(model: Path) -> None:
    command = [sys.executable, "-m", "ckpttool", "ops", str(model), "--type", "Placeholder"]
    environment = {**os.environ, "CKPTTOOL_TABLE": "1", "COLUMNS": "60"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["name", "type"],
        ["X", "Placeholder"],
        ["y", "Placeholder"],
    ]


def test_help_keeps_the_lines_of_examples() -> None:
    shown = CliRunner().invoke(main, ["reuse", "--help"]).stdout
    assert "\b" not in shown
    assert "  Example:\n    ckpttool reuse my_model_final.ckpt --layers 'hidden[123]' \\\n      --head" in shown


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpttool.cli.commands.ops.op_rows", interrupt)
    result = CliRunner().invoke(main, ["ops", str(model)])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Error: interrupted\n")


def test_what_the_system_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch, shell: Any, model: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.meta")

    monkeypatch.setattr("ckpttool.cli.commands.ops.op_rows", refuse)
    assert shell.error("ops", model) == "secret.meta: Permission denied"
