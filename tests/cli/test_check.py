"""All gates in one: the checks of a CI server on a model, and their output."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ckpttool import checkpoint


@pytest.fixture(autouse=True)
def no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred rows of digits that the chapter's network recognises."""
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    small = np.load(Path(__file__).parents[2] / "fixtures" / "mnist_small.npz")
    np.savez(path, x_test=small["x_test"][:100], y_test=small["y_test"][:100])
    return path


@pytest.fixture
def worse(model: Path, tmp_path: Path) -> Path:
    """The same network with another last layer, which guesses."""
    values = {name: tensor.read() for name, tensor in checkpoint.open(model).items()}
    values["outputs/kernel"] = values["outputs/kernel"][:, ::-1].copy()
    checkpoint.save(values, tmp_path / "worse.ckpt")
    (tmp_path / "worse.ckpt.meta").write_bytes(Path(f"{model}.meta").read_bytes())
    return tmp_path / "worse.ckpt"


def test_files_that_are_whole_and_harmless_pass(shell: Any, model: Path) -> None:
    found = shell.json("check", model)
    assert [(gate["gate"], gate["state"]) for gate in found["gates"]] == [("verify", "passed"), ("scan", "passed")]
    assert found["holds"]
    assert shell.run("check", model).stderr.endswith(f"{model}: 2 passed\n")


def test_layers_that_were_kept_pass_and_others_are_named(shell: Any, model: Path, worse: Path) -> None:
    kept = ("--unchanged", "hidden[12]", model)
    assert shell.json("check", worse, *kept)["holds"]
    found = shell.json("check", worse, *kept, "--unchanged", "outputs", model, exit_code=1)
    *_, last = found["gates"]
    assert (last["gate"], last["state"]) == ("unchanged outputs", "failed")
    assert last["found"] == "changed: outputs/kernel"


def test_damage_is_a_no_and_the_graph_is_not_run(shell: Any, copied: Path, rows: Path, flip: Any) -> None:
    flip(Path(f"{copied}.data-00000-of-00001"), 4000)
    found = shell.json("check", copied, "--data", rows, "--min-accuracy", "0.9", "--max-loss", 2, exit_code=1)
    states = {gate["gate"]: gate["state"] for gate in found["gates"]}
    assert states == {"verify": "failed", "scan": "passed", "min-accuracy": "skipped", "max-loss": "skipped"}


def test_what_could_act_is_a_no(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"cposix\nsystem\n(S'echo'\ntR.")
    found = shell.run("check", tmp_path / "x.pt", exit_code=2)
    assert "Error: " in found.stderr


def test_figures_are_held_against_their_bounds(shell: Any, model: Path, rows: Path) -> None:
    accuracy = shell.json("evaluate", model, "--data", rows)["accuracy"]
    assert accuracy > 0.85
    found = shell.json("check", model, "--data", rows, "--min-accuracy", f"{accuracy:.2f}", "--max-loss", 1)
    assert [gate["state"] for gate in found["gates"]] == ["passed"] * 4
    assert found["gates"][2]["found"] == f"accuracy {accuracy:.6g}"
    lost = shell.json("check", model, "--data", rows, "--min-accuracy", "0.99", "--max-loss", "0.01", exit_code=1)
    assert [gate["state"] for gate in lost["gates"]] == ["passed", "passed", "failed", "failed"]


def test_a_drop_is_held_against_a_baseline_on_the_same_rows(shell: Any, model: Path, worse: Path, rows: Path) -> None:
    drop = ("--data", rows, "--max-drop", "0.01", "--baseline")
    assert shell.json("check", model, *drop, worse)["holds"]
    found = shell.json("check", worse, *drop, model, exit_code=1)
    assert found["gates"][-1]["asked"] == "at most 0.01 less"
    assert found["gates"][-1]["state"] == "failed"


def test_evaluate_has_the_same_gates(shell: Any, model: Path, worse: Path, rows: Path) -> None:
    shell.run("evaluate", model, "--data", rows, "--min-accuracy", "0.9", "--max-loss", "1")
    result = shell.run("evaluate", worse, "--data", rows, "--max-drop", "0.01", "--baseline", model, exit_code=1)
    assert "max-drop: failed: accuracy " in result.stderr
    found = shell.json("evaluate", worse, "--data", rows, "--min-accuracy", "0.9", exit_code=1)
    assert [gate["state"] for gate in found["gates"]] == ["failed"]
    assert "gates" not in shell.json("evaluate", model, "--data", rows)


def test_rows_that_two_runs_held_out_otherwise_are_no_comparison(shell: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(60, 4)).astype(np.float32), y=np.arange(60) % 3)
    shell.run("new", "--input", 4, "--layers", "outputs = dense(3)", "-o", tmp_path / "new.ckpt")
    for seed in (1, 2):
        out = tmp_path / f"{seed}.ckpt"
        how = ("--valid", "20%", "--seed", seed, "--epochs", 1)
        shell.run("finetune", tmp_path / "new.ckpt", "--data", tmp_path / "d.npz", *how, "-o", out)
    both = ("--data", tmp_path / "d.npz", "--max-drop", "0.5", "--baseline", tmp_path / "2.ckpt")
    said = shell.run("evaluate", tmp_path / "1.ckpt", *both, exit_code=2).stderr
    assert "are not the same; --split, or --valid and --seed, say which" in said
    shell.run("evaluate", tmp_path / "1.ckpt", *both, "--split", "train", "--valid", "20%", "--seed", 1)


def test_a_file_of_junit_has_a_case_to_each_gate(shell: Any, worse: Path, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "gates.xml"
    shell.run("check", worse, "--unchanged", "outputs", model, "--junit", file, exit_code=1)
    (suite,) = ElementTree.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "0")
    assert [case.get("name") for case in suite] == ["verify", "scan", "unchanged outputs"]
    assert [failure.get("message", "")[:24] for failure in suite.iter("failure")] == ["changed: outputs/kernel,"]
    assert "exists" in shell.error("check", model, "--junit", file)
    shell.run("check", model, "--junit", file, "--overwrite")


def test_a_summary_is_appended_where_a_build_shows_it(
    shell: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    shell.run("check", model)
    lines = page.read_text().splitlines()
    assert lines[:2] == ["before", f"### {model}: 2 passed"]
    assert lines[5] == "| verify | whole files | 12 tensors, all whole | passed |"
    shell.run("check", model, "--summary", tmp_path / "other.md")
    assert (len(page.read_text().splitlines()), (tmp_path / "other.md").exists()) == (len(lines), True)


def test_bad_input(shell: Any, model: Path, rows: Path, tmp_path: Path) -> None:
    assert "require --data" in shell.error("check", model, "--min-accuracy", "0.9")
    assert "--data requires one of them" in shell.error("check", model, "--data", rows)
    assert "requires a --baseline" in shell.error("check", model, "--data", rows, "--max-drop", "0.1")
    assert "requires --max-drop" in shell.error("evaluate", model, "--data", rows, "--baseline", model)
    assert "gone.npz: no such file" in shell.error("check", model, "--data", tmp_path / "gone.npz", "--max-loss", 1)
    assert "not in the range" in shell.error("check", model, "--data", rows, "--min-accuracy", "90")
    assert "is missing" in shell.error("check", tmp_path / "gone.ckpt")
    assert "matches nothing" in shell.error("check", model, "--unchanged", "hiden1", model)
