"""`diff --patch` and `apply-patch`: a tuned model as a small file, and restored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


@pytest.fixture
def tuned(shell: Any, model: Path, tmp_path: Path) -> Path:
    shell.run("edit", model, "--set", "outputs/bias=1", "-o", tmp_path / "tuned.ckpt")
    return tmp_path / "tuned.ckpt"


def patch_of(shell: Any, model: Path, tuned: Path) -> Path:
    path = tuned.parent / "delta"
    shell.run("diff", model, tuned, "--patch", "-o", path)
    return path


def test_a_model_comes_back_with_its_graph_and_its_history(shell: Any, model: Path, tuned: Path) -> None:
    result = shell.run("diff", model, tuned, "--patch", "-o", tuned.parent / "delta")
    assert result.stdout.splitlines()[0].split("\t")[:2] == ["outputs/bias", "values"]
    assert "delta: written and read back, 1 of 12 tensors changed, 1." in result.stderr
    out = tuned.parent / "again.ckpt"
    done = shell.run("apply-patch", model, tuned.parent / "delta", "-o", out)
    assert f"{out}: written and read back, 12 tensors (1034840 bytes), with the graph of {model}.meta" in done.stderr
    shell.run("diff", tuned, out)
    commands = [record["command"] for record in shell.json("log", out)["records"]]
    assert commands == ["edit", "diff", "apply-patch"]
    sources = shell.json("log", out)["records"][-1]["sources"]
    assert [source["format"] for source in sources] == ["graph", "bundle", "patch"]
    assert {source["now"] for source in sources} == {"unchanged"}


def test_tensorflow_restores_what_comes_out(shell: Any, model: Path, tuned: Path) -> None:
    shell.run("apply-patch", model, patch_of(shell, model, tuned), "-o", tuned.parent / "again.ckpt")
    import tensorflow.compat.v1 as tf

    prefix = str(tuned.parent / "again.ckpt")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        assert session.run("outputs/bias:0").tolist() == [1.0] * 10


def test_the_plan_and_the_facts(shell: Any, model: Path, tuned: Path) -> None:
    delta = patch_of(shell, model, tuned)
    rows = shell.json("apply-patch", model, delta, "--plan")
    assert {row["name"]: row["then"].split()[0] for row in rows}["outputs/bias"] == "patched"
    assert [row["then"] for row in rows].count("as in the base") == 11
    facts = shell.json("diff", model, tuned, "--patch", "-o", delta, "--overwrite")
    assert facts["unchanged"] == 11
    assert [row["name"] for row in facts["changed"]] == ["outputs/bias"]
    assert facts["bytes"] == delta.stat().st_size


def test_into_another_format(shell: Any, model: Path, tuned: Path) -> None:
    out = tuned.parent / "again.safetensors"
    shell.run("apply-patch", model, patch_of(shell, model, tuned), "-o", out)
    for name, tensor in checkpoint.open(tuned).items():
        np.testing.assert_array_equal(checkpoint.open(out)[name].read(), tensor.read())


def test_a_damaged_patch_or_another_base_writes_nothing(shell: Any, model: Path, tuned: Path) -> None:
    delta, out = patch_of(shell, model, tuned), tuned.parent / "out.ckpt"
    assert "is not the base of the patch" in shell.error("apply-patch", tuned, delta, "-o", out)
    whole = delta.read_bytes()
    delta.write_bytes(whole[:-1])
    assert shell.error("apply-patch", model, delta, "-o", out) == (
        f"{delta}: the patch is truncated: its directory is not at its end"
    )
    delta.write_bytes(whole[:21] + b"\0" + whole[22:])
    code = shell.run("apply-patch", model, delta, "-o", out, exit_code=2)
    assert f"{delta}: a block of outputs/bias at byte" in code.stderr
    assert list(tuned.parent.glob("out*")) == []


def test_a_patch_is_no_checkpoint_and_a_checkpoint_no_patch(shell: Any, model: Path, tuned: Path) -> None:
    delta = patch_of(shell, model, tuned)
    for command in ("vars", "verify", "stats", "log"):
        assert "it is a patch, which `ckpttool apply-patch` applies to its base" in shell.error(command, delta)
    told = shell.error("apply-patch", model, f"{tuned}.index", "-o", tuned.parent / "x")
    assert told == f"{tuned}.index is not a patch: `ckpttool diff --patch` writes one"
    assert "missing" in shell.error("apply-patch", model, tuned.parent / "nothing", "-o", tuned.parent / "x")


def test_what_is_there_is_kept_and_what_means_nothing_refused(shell: Any, model: Path, tuned: Path) -> None:
    delta = patch_of(shell, model, tuned)
    assert "exists already; --overwrite" in shell.error("diff", model, tuned, "--patch", "-o", delta)
    assert "exists already; --overwrite" in shell.error("apply-patch", model, delta, "-o", tuned)
    assert "--patch requires -o OUT" in shell.error("diff", model, tuned, "--patch")
    assert "-o requires --patch" in shell.error("diff", model, tuned, "-o", delta)
    both = shell.error("diff", model, tuned, "--patch", "-o", delta, "--layers", "outputs")
    assert "--patch contains all differences" in both
    assert "is a folder" in shell.error("diff", model, tuned, "--patch", "-o", tuned.parent)
