"""The page on gates for CI servers: its commands are run in order, including those of its workflows."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands_of(kind: str, block: str) -> list[str]:
    """The command lines of a block: a shell's, or those in the steps of a workflow."""
    if kind == "sh":
        return block.splitlines()
    found = []
    todo: list[Any] = [yaml.safe_load(block)]
    while todo:
        node = todo.pop(0)
        if isinstance(node, dict):
            found += [node["run"]] if isinstance(node.get("run"), str) else []
            found += node.get("script", [])
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return found


COMMANDS = [shlex.split(line) for kind, block in BLOCK.findall(PAGE) for line in commands_of(kind, block)]


def test_the_commands_of_the_page_run(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in [*(ROOT / "fixtures").glob("my_model_final.ckpt*"), ROOT / "fixtures" / "mnist_small.npz"]:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    ran = [words for words in COMMANDS if words[0] == "ckpttool"]
    assert [words[1] for words in ran] == ["finetune", "check", "evaluate", "check", "check", "check"]
    for words in ran:
        shell.run(*words[1:])
    names = [case.get("name") for case in ElementTree.parse("gates.xml").iter("testcase")]
    assert names == ["verify", "scan", "unchanged hidden[12]", "min-accuracy", "max-drop"]
    assert Path("summary.md").read_text().count("\n### tuned.ckpt: ") == 3


def test_what_is_installed_is_an_extra_of_the_package() -> None:
    assert {tuple(words) for words in COMMANDS if words[0] != "ckpttool"} == {("pip", "install", "ckpttool[cpu]")}
