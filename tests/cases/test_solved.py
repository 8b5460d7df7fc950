"""The page of solved cases: each of its commands runs on the files of its case and prints what the page shows."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "solved.md"
ENTRY = re.compile(r"^### (?P<question>.+)\n(?P<body>(?:(?!^##).*\n)*)", re.MULTILINE)
CASE = re.compile(r"^<!-- case: (\w+) -->$", re.MULTILINE)
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ENTRIES = [(match["question"], match["body"]) for match in ENTRY.finditer(PAGE.read_text(encoding="utf-8"))]


def commands(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield shlex.join(words)


def is_long(question: str, body: str) -> bool:
    """Return whether an entry trains, and so runs in `make trust`; its case has its own tests."""
    return "ckpttool finetune" in body and "`.keras`" not in question


@pytest.mark.parametrize(
    ("question", "body"),
    [
        pytest.param(question, body, id=question, marks=pytest.mark.slow if is_long(question, body) else ())
        for question, body in ENTRIES
    ],
)
def test_the_commands_of_an_entry_run(
    question: str, body: str, folder: Path, make: Callable[[str, Path], None], run: Callable[[str], str]
) -> None:
    (case,) = CASE.findall(body)
    make(case, folder)
    printed, ran = "", 0
    for kind, block in BLOCK.findall(body):
        if kind == "sh":
            outputs = [run(command) for command in commands(block)]
            printed, ran = "\n".join(outputs), ran + len(outputs)
        else:
            assert [line for line in block.splitlines() if line.strip() not in printed] == [], printed
    assert ran > 0, question


def test_every_case_has_an_entry() -> None:
    cases = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")} - {"solved"}
    named = {case for _, body in ENTRIES for case in CASE.findall(body)}
    assert named == cases
