"""Cases: small models as people bring them. A module's own `make(folder)` writes the files, commands run on them."""

import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ckpttool.cli import main

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The current directory for one test: the files of the module's `make`, and a feature cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if hasattr(request.module, "make"):
        request.module.make(tmp_path)
    return tmp_path


@pytest.fixture
def make() -> Callable[[str, Path], None]:
    """Write the files of another module's case, by its name."""

    def write(case: str, folder: Path) -> None:
        runpy.run_path(str(Path(__file__).parent / f"test_{case}.py"))["make"](folder)

    return write


@pytest.fixture
def run() -> Run:
    """Run a command line as a user types it, in this process; return all that it prints."""

    def invoke(command_line: str, exit_code: int = 0) -> str:
        program, *arguments = shlex.split(command_line)
        assert program == "ckpttool"
        result = CliRunner().invoke(main, arguments)
        printed = result.output + (repr(result.exception) if result.exception else "")
        assert result.exit_code == exit_code, f"{command_line}\n{printed}"
        return result.output

    return invoke
