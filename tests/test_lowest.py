"""The oldest promised versions are tested: tests/lowest.txt has the bounds of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_USERS = [extra for extra in EXTRAS if extra not in {"tensorflow", "docs", "dev", "fuzz"}]
"""The extras that the package imports; of the two builds of TensorFlow, one is tested."""
NAMED = r"([\w-]+)(?:\[\w+\])?"
BOUNDS = dict(
    re.fullmatch(rf"{NAMED}>=([\d.]+)", text).groups()
    for text in [*PROJECT["dependencies"], *(text for extra in FOR_USERS for text in EXTRAS[extra])]
)
LOWEST = (ROOT / "tests" / "lowest.txt").read_text()
TESTED = dict(re.findall(rf"^{NAMED}==([\d.]+)$", LOWEST, re.MULTILINE))


@pytest.mark.parametrize("package", BOUNDS)
def test_the_oldest_version_that_is_allowed_is_the_one_that_is_tested(package: str) -> None:
    assert f"{TESTED[package]}.".startswith(f"{BOUNDS[package]}.")


@pytest.mark.parametrize("package", ["safetensors", "zarr", "onnx", "pandas", "polars", "pytest", "hypothesis"])
def test_the_oldest_referee_is_that_of_the_tests(package: str) -> None:
    bounds = {text.partition(">=")[0]: re.split(r">=|,", text)[1] for text in EXTRAS["dev"] if ">=" in text}
    assert f"{TESTED[package]}.".startswith(f"{bounds[package]}.")


def test_both_builds_of_tensorflow_have_the_same_bound() -> None:
    assert EXTRAS["tensorflow"] == [EXTRAS["cpu"][0].replace("-cpu", "")]
