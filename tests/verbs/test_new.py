"""`new` from Python: it returns the plan, and writes a whole model."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput, MissingFile
from ckpttool.graph import files
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.new import new, plan_new


def test_the_graph_has_every_role(tmp_path: Path) -> None:
    rows = new([4], "hidden1 = dense(5, tanh); outputs = dense(3)", tmp_path / "new.ckpt", recipe=Recipe("momentum"))
    assert [row.target for row in rows] == ["hidden1/kernel", "hidden1/bias", "outputs/kernel", "outputs/bias"]
    assert not any(row.source for row in rows)
    roles = find_roles(files.load(tmp_path / "new.ckpt"))
    assert (roles.inputs, roles.labels) == (("X:0",), "y:0")
    assert (roles.logits, roles.loss) == ("dnn/outputs/BiasAdd:0", "loss/loss:0")
    assert (roles.accuracy, roles.training_op) == ("eval/accuracy:0", "Momentum")


def test_slots_start_at_zero_biases_too(tmp_path: Path) -> None:
    new([4], "outputs = dense(3)", tmp_path / "new.ckpt", recipe=Recipe("momentum"))
    found = checkpoint.open(tmp_path / "new.ckpt")
    weights = {f"outputs/{part}{slot}" for part in ("kernel", "bias") for slot in ("", "/Momentum")}
    assert set(found) == {*weights, "global_step"}
    for name in ("outputs/bias", "outputs/kernel/Momentum", "outputs/bias/Momentum"):
        assert not np.any(found[name].read())


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_any_seed_will_do(tmp_path: Path, seed: int) -> None:
    for name in ("a", "b"):
        new([40], "outputs = dense(30)", tmp_path / name, recipe=Recipe(), seed=seed)
    a, b = (checkpoint.open(tmp_path / name)["outputs/kernel"].read() for name in "ab")
    np.testing.assert_array_equal(a, b)
    assert a.std() > 0.1


def test_nothing_is_built_for_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "new.ckpt.index").write_text("mine")
    with pytest.raises(ExistingOutput, match=r"new.ckpt.index exists already; `overwrite` replaces it"):
        new([4], "this is not a SPEC", tmp_path / "new.ckpt", recipe=Recipe())
    with pytest.raises(MissingFile, match="none does not exist; `mkdir -p"):
        new([4], "this is not a SPEC", tmp_path / "none" / "new.ckpt", recipe=Recipe())
    with pytest.raises(CkptError):
        new([4], "this is not a SPEC", tmp_path / "other.ckpt", recipe=Recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["new.ckpt.index"]


def test_a_plan_of_a_new_model_writes_nothing(tmp_path: Path) -> None:
    planned = plan_new([4], "hidden1 = dense(8, relu); outputs = dense(3)", seed=5)
    assert list(tmp_path.iterdir()) == []
    assert [row.target for row in planned.rows] == ["hidden1/kernel", "hidden1/bias", "outputs/kernel", "outputs/bias"]
    planned.write(tmp_path / "new.ckpt")
    rows = new([4], "hidden1 = dense(8, relu); outputs = dense(3)", tmp_path / "again.ckpt", seed=5)
    assert rows == planned.rows
    first, again = (checkpoint.open(tmp_path / name) for name in ("new.ckpt", "again.ckpt"))
    assert {name: first[name].read().tolist() for name in first} == {
        name: again[name].read().tolist() for name in again
    }
    with pytest.raises(ExistingOutput):
        planned.check(tmp_path / "new.ckpt")
