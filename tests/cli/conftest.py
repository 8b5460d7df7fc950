"""Running commands as a user does, and tiny things to run them on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ckpttool import checkpoint
from ckpttool.cli import main

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = FIXTURES / "my_model_final.ckpt"


class Shell:
    """Commands in this process; a wrong exit code fails the test with what was said."""

    def run(self, *arguments: str | Path, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == exit_code, result.stdout + result.stderr + repr(result.exception)
        return result

    def lines(self, *arguments: str | Path, exit_code: int = 0) -> list[str]:
        return self.run(*arguments, exit_code=exit_code).stdout.splitlines()

    def json(self, *arguments: str | Path, exit_code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", exit_code=exit_code).stdout)

    def error(self, *arguments: str | Path) -> str:
        """The one line of an input error: exit 2, nothing on stdout."""
        result = self.run(*arguments, exit_code=2)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def model() -> Path:
    """The chapter's network, read only."""
    return MODEL


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The chapter's network, to be damaged."""
    for path in FIXTURES.glob("my_model_final.ckpt.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "my_model_final.ckpt"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of four tensors without a graph: two weights, a slot and a step."""
    path = tmp_path / "tiny.ckpt"
    values = {
        "fc/bias": np.array([1.0, np.nan, np.inf], np.float32),
        "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fc/kernel/Momentum": np.zeros((2, 3), np.float32),
        "global_step": np.array(7, np.int64),
    }
    checkpoint.save(values, path)
    return path


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Turn one bit of a file over."""

    def flip_bit(path: Path, place: int) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return flip_bit
