"""`apply`: what is shown and said, variables on the command line, one output for each source, the schema."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(
        '[variables]\nwidth = 3\n[[step]]\nfor = "layer_{i}"\nrename = "layer_{i}=>b{i}"\n'
        '[[step]]\nassert = "b.*"\nshape = ["?", "{width}"]\nfinite = true\n'
    )
    return path


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"run{number}.npz" for number in (1, 2)]
    for number, path in enumerate(paths):
        checkpoint.save({f"layer_{n}/kernel": np.full((2, 3), n + number, np.float32) for n in range(2)}, path)
    return paths


def test_a_plan_is_shown_and_carried_out(shell: Any, plan: Path, sources: list[Path], tmp_path: Path) -> None:
    rows = json.loads(shell.run("apply", plan, sources[0], "--plan", "--json").output)
    assert rows[0] == {"step": "rename layer_0=>b0", "on": "a", "takes": 1, "tensors": ["b0/kernel"]}
    out = tmp_path / "out.safetensors"
    result = shell.run("apply", plan, sources[0], "-o", out)
    assert f"{out}: written and read back, 2 tensors (48 bytes), 3 steps, 1 assertion held" in result.stderr
    assert list(checkpoint.open(out)) == ["b0/kernel", "b1/kernel"]


def test_a_failed_assertion_is_one_line_and_writes_nothing(
    shell: Any, plan: Path, sources: list[Path], tmp_path: Path
) -> None:
    result = shell.run("apply", plan, sources[0], "--set", "width=4", "-o", tmp_path / "out.npz", exit_code=2)
    assert result.stderr == f"Error: {plan}, step 2 (line 6): b0/kernel has the shape [2, 3], expected [?, 4]\n"
    assert not (tmp_path / "out.npz").exists()


def test_each_source_has_an_output_of_its_own(shell: Any, plan: Path, sources: list[Path], tmp_path: Path) -> None:
    shell.run("apply", plan, *sources, "-o", tmp_path / "{name}.safetensors")
    found = [checkpoint.open(tmp_path / f"run{n}.safetensors")["b0/kernel"].read()[0, 0] for n in (1, 2)]
    assert found == [0, 1]


def test_the_schema_is_json(shell: Any) -> None:
    schema = json.loads(shell.run("apply", "--schema").output)
    kinds = schema["properties"]["step"]["items"]["anyOf"]
    assert [kind["properties"]["merge"] for kind in kinds if "merge" in kind["properties"]] == [{"type": ["array"]}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["none.toml", "run1.npz", "-o", "y.npz"], "none.toml"),
        (["plan.toml", "-o", "y.npz"], "no path is given for a source"),
        (["plan.toml", "none.npz", "-o", "y.npz"], "none.npz"),
        (["plan.toml", "run1.npz", "--set", "width", "-o", "y.npz"], "'width' is not NAME=VALUE"),
        (["plan.toml", "run1.npz"], "Missing option '-o'"),
    ],
)
def test_mistakes_are_one_line(
    shell: Any, plan: Path, sources: list[Path], monkeypatch: Any, given: list[str], message: str
) -> None:
    monkeypatch.chdir(plan.parent)
    result = shell.run("apply", *given, exit_code=2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
