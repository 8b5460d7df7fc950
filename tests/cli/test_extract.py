"""`ckpttool extract`."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool import checkpoint
from ckpttool.cli import main


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    base = {"fc.weight": np.zeros((4, 3), np.float32), "fc.bias": np.zeros(4, np.float32)}
    tuned = {"fc.weight": np.outer(np.arange(4), np.ones(3)).astype(np.float32), "fc.bias": np.ones(4, np.float32)}
    checkpoint.save(base, tmp_path / "base.safetensors")
    checkpoint.save(tuned, tmp_path / "tuned.safetensors")
    return [str(tmp_path / "base.safetensors"), str(tmp_path / "tuned.safetensors")]


def test_rows_say_rank_error_and_the_rank_that_would_do(models: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["extract", *models, "--rank", "2", "--whole", "-o", str(tmp_path / "adapter")])
    assert result.exit_code == 0, result.output
    assert "fc.weight\t[4, 3]\t2\t0.00%\t1 of 3\tfactors" in result.output
    assert "fc.bias\t[4]\t\t\t\tstored whole: not a matrix" in result.output
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "1 tensor that moved is not a matrix: fc.bias; --whole stores them whole; --lenient omits such tensors"),
        (["--rank", "0"], "'0' is not a rank, expected a positive number or auto"),
        (["--rank", "few"], "'few' is not a rank"),
        (["--energy", "2"], "2.0 is not in the range"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(models: list[str], tmp_path: Path, options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["extract", *models, *options, "-o", str(tmp_path / "adapter")])
    assert result.exit_code == 2 and message in result.output, result.output
    assert not (tmp_path / "adapter").exists()


def test_an_output_is_asked_for(models: list[str]) -> None:
    assert "Missing option '-o'" in CliRunner().invoke(main, ["extract", *models]).output
    assert CliRunner().invoke(main, ["extract", *models, "--whole", "--plan"]).exit_code == 0
