"""Losses are reported before anything is written, by every command that writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.cli.show import plans
from ckpttool.formats.format import Writing


class Recorder:
    """A plan that skips something, and records its calls."""

    rows = ({"name": "w", "then": "written"},)
    notes = ("skipped: b",)
    done = "written and read back, 1 tensors"

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool]] = []

    def as_json(self) -> list[dict[str, str]]:
        return [dict(row) for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        self.calls.append(("check", overwrite))

    def write(self, output: str | Path, overwrite: bool = False, command: Any = None) -> list[str]:
        self.calls.append(("write", overwrite))
        return ["w has NaN"]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(plans, "say", lines.append)
    monkeypatch.setattr(plans, "command_line", lambda: None)
    return lines


def test_a_plan_is_shown_then_written_then_reported(said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plan = Recorder()
    plans.execute(plan, Path("out"))
    assert capsys.readouterr().out == "w\twritten\n"
    assert plan.calls == [("check", False), ("write", False)]
    assert said == ["skipped: b", "w has NaN", "out: written and read back, 1 tensors"]


def test_only_the_plan(said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plan = Recorder()
    plans.execute(plan, Path("out"), plan_only=True, as_json=True, with_table=False)
    assert capsys.readouterr().out == '[{"name": "w", "then": "written"}]\n'
    assert (plan.calls, said) == ([("check", True)], ["skipped: b"]), "its name; one that exists is not replaced yet"
    plans.execute(plan, None, plan_only=True)
    assert len(plan.calls) == 1


@pytest.mark.parametrize(
    "command", [["convert"], ["edit", "--drop-slots"], ["join"], ["split", "--shard-size", "1KB"]], ids=" ".join
)
def test_texts_that_are_lost_are_said_before_the_output_is(shell: Any, tmp_path: Path, command: list[str]) -> None:
    source = tmp_path / "a.safetensors"
    values = {"w": np.ones(2), "w/Momentum": np.ones(2)}
    checkpoint.save(values, source, how=Writing(metadata={"licence": "MIT"}))
    name, *options = command
    result = shell.run(name, source, *options, "-o", tmp_path / "out.ckpt")
    lines = result.stderr.splitlines()
    assert "skipped, as bundle stores no texts: licence" in lines[:-1]
    assert lines[-1].startswith(f"{tmp_path / 'out.ckpt'}: written and read back")
