"""The attacks of docs/attacks: each is run again, and prints the output on the page."""

import io
import re
import runpy
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from ckpttool.cli import main

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that writes the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    import attack_pages

    return attack_pages


def invoke(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process, which has imported TensorFlow."""
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("script", sorted((DOCS / "attacks").glob("[a-z]_*.py")), ids=lambda path: path.stem)
def test_an_attack_ends_as_the_page_says(
    script: Path, pages: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = script.with_suffix(".txt").read_text(encoding="utf-8")
    if re.search(r"\bos\.fork\b", script.read_text(encoding="utf-8")):
        assert pages.run(script) == shown
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(script.parent))
    import shell

    monkeypatch.setattr(shell, "invoke", invoke)
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
        runpy.run_path(str(script), run_name="__main__")
    assert pages.comparable(printed.getvalue(), tmp_path) == shown


def test_there_is_an_attack_of_each_kind(pages: ModuleType) -> None:
    assert [path.name[0] for path in pages.scripts()] == list("abcdefghij")
