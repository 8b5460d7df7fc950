"""The page on extensions: every block is applied to a copy of the checkout, where the additions must work."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LONGEST = 30
"""The maximal number of lines of an addition in one file."""


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return [text for each, text in BLOCK.findall(page) if each == language]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the page's changes."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.pyc.*")  # files that others write just now; compiled modules are copied
    for name in ("ckpttool", "tests", "fixtures"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for block in blocks("python"):
        title, _, text = block.partition("\n")
        name, _, place = title.removeprefix("# ").partition(", ")
        add(copy / name, text, place)
    return copy


def add(file: Path, text: str, place: str) -> None:
    """Apply a block as its first line says."""
    if not place:
        assert not file.exists()
        file.write_text(text)
    elif place == "at the end":
        file.write_text(f"{file.read_text()}\n\n{text}")
    elif place == "in imports":
        file.write_text(file.read_text().replace("\nfrom ", f"\n{text}from ", 1))
    else:
        table = re.compile(rf"^{place.removeprefix('in ')}\b.*[({{]$", re.MULTILINE).search(file.read_text())
        assert table, f"{file} has no table {place}"
        whole = file.read_text()
        file.write_text(f"{whole[: table.end()]}\n{text.rstrip()}{whole[table.end() :]}")


def run(checkout: Path, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(checkout / "cache")}
    place = folder or checkout
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def test_no_addition_is_long() -> None:
    assert [block for block in blocks("python") if len(block.splitlines()) > LONGEST] == []


def test_the_tests_of_the_page_pass(checkout: Path) -> None:
    named = [block.partition("\n")[0].removeprefix("# ") for block in blocks("python")]
    tests = [name for name in named if name.startswith("tests/")]
    assert len(tests) > 5
    done = run(checkout, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert done.returncode == 0, done.stdout
    assert f"{len(tests)} passed" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(line, marks=pytest.mark.slow if "predict" in line else ())
        for block in blocks("sh")
        for line in block.splitlines()
    ],
)
def test_the_commands_of_the_page_run(checkout: Path, command: str) -> None:
    _, *arguments = shlex.split(command)
    done = run(checkout, sys.executable, "-m", "ckpttool", *arguments, folder=checkout / "fixtures")
    assert done.returncode == 0, done.stderr


def test_what_was_added_is_in_help_and_tables(checkout: Path) -> None:
    shown = {
        ("--help",): "count",
        ("edit", "--help-all"): "--scale RE=FACTOR",
        ("formats",): "lines",
    }
    for arguments, text in shown.items():
        assert text in run(checkout, sys.executable, "-m", "ckpttool", *arguments).stdout
