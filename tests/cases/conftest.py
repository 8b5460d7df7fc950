"""Cases: small models as users bring them. A module's own `make(folder)` writes the files, which commands read."""

import contextlib
import runpy
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from ckpttool.cli import main

Run = Callable[..., str]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path | None]:
    """Return the folder with the files of a module's case, made once; None if the module has no `make`."""

    @cache
    def once(module: Path) -> Path | None:
        make = runpy.run_path(str(module), run_name=module.stem).get("make")
        folder = tmp_path_factory.mktemp(module.stem)
        with contextlib.chdir(folder):
            if make is not None:
                make(folder)
        return None if make is None else folder

    return once


@pytest.fixture
def make(made: Callable[[Path], Path | None]) -> Callable[[str, Path], None]:
    """Put the files of the case with this name into a folder."""

    def put(case: str, folder: Path) -> None:
        files = made(Path(__file__).parent / f"test_{case}.py")
        assert files is not None, case
        shutil.copytree(files, folder, dirs_exist_ok=True, symlinks=True)

    return put


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, make: Callable[[str, Path], None]
) -> Path:
    """The current directory for one test: the files of the module's `make`, and its own feature cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    if hasattr(request.module, "make"):
        make(Path(request.module.__file__).stem.removeprefix("test_"), tmp_path)
    return tmp_path


@pytest.fixture
def run() -> Run:
    """Run a command line as typed by a user, in this process; return its output."""

    def invoke(command_line: str, exit_code: int = 0) -> str:
        program, *arguments = shlex.split(command_line)
        assert program == "ckpttool"
        result = CliRunner().invoke(main, arguments)
        printed = result.output + (repr(result.exception) if result.exception else "")
        assert result.exit_code == exit_code, f"{command_line}\n{printed}"
        return result.output

    return invoke
