"""The pages: their examples run, their links lead somewhere, every command and every public name is on one of them."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

import ckpttool
from ckpttool.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "fixtures" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_python_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in [*(ROOT / "fixtures").glob("my_model_final.ckpt*"), ROOT / "fixtures" / "mnist_small.npz"]:
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "python.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 40


def test_every_command_has_a_section_and_a_place_in_the_readme() -> None:
    assert re.findall(r"^## ckpttool (\S+)$", text_of(ROOT / "docs" / "cli.md"), re.MULTILINE) == list(COMMANDS)
    assert [name for name in COMMANDS if f"ckpttool {name} " not in text_of(ROOT / "README.md")] == []


def test_every_public_name_is_on_a_page() -> None:
    text = "".join(map(text_of, PAGES))
    assert [name for name in ckpttool.__all__ if not re.search(rf"\b{name}\b", text)] == []


def commands_of(page: Path) -> list[list[str]]:
    """The commands in a page's shell blocks: lines continued by a backslash are one, # starts a comment."""
    lines = "\n".join(FENCE.findall(text_of(page))).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line and line[0] == "ckpttool"]


def test_the_commands_of_the_readme_are_understood() -> None:
    """Every option there is one of the command's; what it would do is not done."""
    commands = commands_of(ROOT / "README.md")
    assert len(commands) > 15
    for _, name, *arguments in commands:
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        if "|" not in arguments:
            command.make_context(name, [word for word in arguments if word not in {"||", "&&"}])


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_files_that_the_design_names_are_there() -> None:
    named = set(re.findall(r"`(?:\w+/)*(\w+\.py)`", text_of(ROOT / "docs" / "design.md")))
    there = {path.name for folder in ("ckpttool", "tests") for path in (ROOT / folder).rglob("*.py")}
    assert len(named) > 50
    assert named - there == set()


def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
