"""`apply`: plans and output, variables on the command line, one output for each source, the schema."""

import json
import shutil
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


def test_a_placeholder_becomes_one_name_so_an_output_is_where_the_template_says(
    shell: Any, plan: Path, sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name: tmp_path / "got" / name for name in ("...npz", "{folder}.npz", "up.npz")}
    for path in names.values():
        path.parent.mkdir(exist_ok=True)
        shutil.copy(sources[0], path)
    (tmp_path / "got" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "got" / "here")
    refused = shell.run("apply", plan, names["...npz"], "-o", "{name}/out.npz", exit_code=2)
    assert "{name} in {name}/out.npz would be '..', expected a name" in refused.stderr
    shell.run("apply", plan, "../up.npz", "-o", "{folder}.npz")
    shell.run("apply", plan, names["{folder}.npz"], "-o", "{name}.npz")
    assert {path.name for path in Path().glob("*.npz")} == {"got.npz", "{folder}.npz"}
    assert not (tmp_path / "got" / "out.npz").exists()


def bundles(folder: Path, *names: str, flawed: str = "") -> None:
    for number, name in enumerate(names):
        values = np.full((2, 3), np.nan if name == flawed else number, np.float32)
        checkpoint.save({"layer_0/kernel": values}, folder / name)


def test_a_pattern_takes_checkpoints_of_several_files_once_and_in_order(shell: Any, plan: Path, tmp_path: Path) -> None:
    bundles(tmp_path, "model.ckpt-10", "model.ckpt-9")
    (tmp_path / "model.ckpt-9.lineage.json").write_text("{}")
    result = shell.run("apply", plan, tmp_path / "model.ckpt-*", "-o", tmp_path / "{name}.safetensors")
    written = [line.split(": written")[0] for line in result.stderr.splitlines() if ": written" in line]
    assert written == [str(tmp_path / f"model.ckpt-{step}.safetensors") for step in (9, 10)]


def test_names_are_those_of_sources_without_their_formats(shell: Any, plan: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        bundles(tmp_path / run, "step-1.ckpt", "v1.2.npz")
    message = shell.error("apply", plan, tmp_path / "*" / "*.npz", "-o", tmp_path / "{name}.h5")
    assert "v1.2.npz would both be written to" in message
    assert "{folder} has their folders' names" in message
    patterns = [tmp_path / "*" / each for each in ("step-?.ckpt", "*.npz")]
    shell.run("apply", plan, *patterns, "-o", tmp_path / "{folder}-{name}.h5")
    found = sorted(path.name for path in tmp_path.glob("*.h5"))
    assert found == ["a-step-1.h5", "a-v1.2.h5", "b-step-1.h5", "b-v1.2.h5"]


def test_one_that_cannot_be_planned_begins_none(shell: Any, plan: Path, tmp_path: Path) -> None:
    bundles(tmp_path, "a.npz", "c.npz")
    checkpoint.save({"layer_0/kernel": np.ones((2, 4), np.float32)}, tmp_path / "b.npz")
    message = shell.error("apply", plan, tmp_path / "*.npz", "-o", tmp_path / "{name}.safetensors")
    assert f"{tmp_path / 'b.npz'}: {plan}, step 2 (line 6): b0/kernel has the shape [2, 4], expected [?, 3]" in message
    assert not list(tmp_path.glob("*.safetensors"))
    (tmp_path / "b.npz").unlink()
    (tmp_path / "c.safetensors").write_text("there")
    assert "c.safetensors" in shell.error("apply", plan, tmp_path / "*.npz", "-o", tmp_path / "{name}.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_one_that_fails_while_it_is_written_stops_no_other(shell: Any, plan: Path, tmp_path: Path) -> None:
    bundles(tmp_path, "a.npz", "b.npz", "c.npz", flawed="b.npz")
    given = ["apply", plan, tmp_path / "*.npz", "-o", tmp_path / "{name}.safetensors"]
    lines = shell.run(*given, exit_code=2).stderr.splitlines()
    found = f"{plan}, step 2 (line 6), finite: b0/kernel has 6 elements that are NaN or infinite"
    assert f"{tmp_path / 'b.npz'}: {found}" in lines
    assert lines[-1] == f"Error: 1 of 3 outputs not written: {tmp_path / 'b.safetensors'}; the others are whole"
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["a.safetensors", "c.safetensors"]


def test_a_pattern_that_matches_nothing_is_said(shell: Any, plan: Path, tmp_path: Path) -> None:
    bundles(tmp_path, "a.npz")
    assert "b*.npz is missing" in shell.error("apply", plan, tmp_path / "b*.npz", "-o", tmp_path / "{name}.h5")
    assert "no source is given" in shell.error("apply", plan, "-o", tmp_path / "{name}.h5")


def test_the_schema_is_json(shell: Any) -> None:
    schema = json.loads(shell.run("apply", "--schema").output)
    kinds = schema["properties"]["step"]["items"]["anyOf"]
    assert [kind["properties"]["merge"] for kind in kinds if "merge" in kind["properties"]] == [{"type": ["array"]}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["none.toml", "run1.npz", "-o", "y.npz"], "none.toml: no such plan, expected a TOML file"),
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
