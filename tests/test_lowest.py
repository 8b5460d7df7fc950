"""The oldest promised versions are tested: tests/lowest.txt has the bounds of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BOUNDS = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", text).groups() for text in [*PROJECT["dependencies"], *EXTRAS["cpu"]])
TESTED = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "tests" / "lowest.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("package", BOUNDS)
def test_the_oldest_version_that_is_allowed_is_the_one_that_is_tested(package: str) -> None:
    assert f"{TESTED[package]}.".startswith(f"{BOUNDS[package]}.")


def test_both_builds_of_tensorflow_have_the_same_bound() -> None:
    assert EXTRAS["tensorflow"] == [EXTRAS["cpu"][0].replace("-cpu", "")]
