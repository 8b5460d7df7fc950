"""`modernize`: plain TensorFlow programs import, restore and train the rewritten model with the same numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph.contents.collections import variable_defs
from ckpttool.graph.files import load


def trained(session: Any, op: str, feed: dict[str, Any], steps: int = 3) -> dict[str, Any]:
    for _ in range(steps):
        session.run(op, feed)
    return dict(session.weights())


def types(prefix: Path) -> set[str]:
    return {node.op for node in load(prefix).nodes.values()}


def test_the_chapters_network_goes_on_as_before(shell: Any, model: Path, new_session: Any, tmp_path: Path) -> None:
    out = tmp_path / "modern.ckpt"
    result = shell.run("modernize", model, "-o", out)
    assert result.stderr.endswith(f"{out}: written and read back, 12 reference variables are resource variables now\n")
    assert {"VariableV2", "Assign"} <= types(model)
    assert not {"VariableV2", "Assign", "ApplyGradientDescent"} & types(out)
    shell.run("verify", out, "--unchanged", ".*", model)
    draw = np.random.default_rng(0)
    feed = {"X:0": draw.normal(size=(20, 784)).astype(np.float32), "y:0": draw.integers(0, 10, size=20)}
    old, new = new_session(model, model), new_session(out, out)
    assert old.run("dnn/outputs/BiasAdd:0", feed).tobytes() == new.run("dnn/outputs/BiasAdd:0", feed).tobytes()
    before, after = trained(old, "GradientDescent", feed), trained(new, "GradientDescent", feed)
    assert {name: value.tobytes() for name, value in after.items()} == {n: v.tobytes() for n, v in before.items()}


@pytest.mark.parametrize("functional", [False, True])
def test_slots_batch_norm_and_loops_go_on_and_the_saver_saves(
    shell: Any, make_trained: Callable[..., Path], new_session: Any, feed: Any, tmp_path: Path, functional: bool
) -> None:
    model, out = make_trained(functional=functional), tmp_path / "modern.ckpt"
    shell.run("modernize", model, "-o", out)
    assert all(entry.is_resource for entry in variable_defs(load(out), "variables"))
    old, new = new_session(model, model), new_session(out, out)
    assert old.run("loss/loss:0", feed) == new.run("loss/loss:0", feed)
    before, after = (trained(session, "train", {**feed, "training:0": True}) for session in (old, new))
    assert "h1/kernel/Adam_1" in after
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-6, err_msg=name)
    again = new.save(tmp_path / "again.ckpt")
    assert set(checkpoint.open(again)) == set(checkpoint.open(model))


def test_tensorflow_2_calls_what_is_exported_of_it(shell: Any, model: Path, new_session: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    shell.run("modernize", model, "-o", tmp_path / "modern.ckpt")
    shell.run("export-saved-model", tmp_path / "modern.ckpt", "-o", tmp_path / "exported")
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    call = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    expected = new_session(model, model).run("dnn/outputs/BiasAdd:0", {"X:0": x})
    np.testing.assert_array_equal(call(X=tf.constant(x))["logits"], expected)


def test_a_plan_writes_nothing(shell: Any, model: Path, tmp_path: Path) -> None:
    plan = shell.json("modernize", model, "--plan")
    assert plan["before"]["variables"] == plan["after"]["variables"] == 12
    assert plan["notes"] == ["device placements are removed: /device:CPU:0"]
    assert not list(tmp_path.iterdir())


def test_wrong_uses_are_refused(shell: Any, model: Path, make_trained: Callable[..., Path], tmp_path: Path) -> None:
    modern = make_trained(resource=True)
    message = shell.error("modernize", modern, "-o", tmp_path / "o")
    assert message == f"{modern}.meta: no reference variable: there is nothing to modernize"
    shell.run("modernize", model, "-o", tmp_path / "out.ckpt")
    message = shell.error("modernize", model, "-o", tmp_path / "out.ckpt")
    assert message == f"{tmp_path}/out.ckpt.meta exists already; --overwrite replaces it"
    shell.run("modernize", model, "-o", tmp_path / "out.ckpt", "--overwrite")
