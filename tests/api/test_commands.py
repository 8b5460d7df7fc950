"""Every command is a public function of the same name, whose arguments are all documented."""

import inspect
import re
from typing import Any

import pytest

import ckpttool
from ckpttool.cli import COMMANDS
from ckpttool.cli.commands.zoo import SUBCOMMANDS

NAMES = {"import": "import_weights", "formats": "list_formats"}
"""Commands whose names cannot be used for a function: a Python keyword, and a package."""
FUNCTIONS = {
    **{command: NAMES.get(command, re.sub("[- ]", "_", command)) for command in COMMANDS if command != "zoo"},
    **{f"zoo {command}": f"zoo_{command.replace('-', '_')}" for command in SUBCOMMANDS},
}
IN_API = [name for name in ckpttool.__all__ if getattr(ckpttool, name).__module__.startswith("ckpttool.api.")]


@pytest.mark.parametrize("command", FUNCTIONS)
def test_a_command_is_a_function(command: str) -> None:
    """Add a new one to `ckpttool/api/` (a catalogue's verb may itself be public) and to the table of `__init__`."""
    assert FUNCTIONS[command] in ckpttool.__all__
    function = getattr(ckpttool, FUNCTIONS[command])
    assert inspect.isfunction(function)
    assert function.__name__ == FUNCTIONS[command]


@pytest.mark.parametrize("name", [name for name in IN_API if name.islower()])
def test_every_argument_is_typed_and_described(name: str) -> None:
    function: Any = getattr(ckpttool, name)
    described = set(re.findall(r"^    (\w+): \S", inspect.getdoc(function), re.MULTILINE))
    parameters = inspect.signature(function).parameters
    assert set(parameters) <= described
    assert [each for each, one in parameters.items() if one.annotation is inspect.Parameter.empty] == []
