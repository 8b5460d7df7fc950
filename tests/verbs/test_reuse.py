"""`reuse` from Python: plain TensorFlow networks with moving averages, dropout and penalties under a new head."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.reuse import plan_reuse

HEAD = "new = dense(3)"


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_moving_averages_come_along_and_go_on(
    foreign: Callable[..., Path], tmp_path: Path, new_session: Any, feed: dict[str, Any], functional: bool
) -> None:
    """The training op of the head does not run UPDATE_OPS by itself; they are in the graph, and run."""
    source, out = foreign("batch_norm", functional), tmp_path / "out.ckpt"
    planned = plan_reuse(Model.open(source), "hidden[12]", head=HEAD, after="hidden2/norm")
    planned.write(out)
    parts = ("kernel", "bias", "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance")
    assert set(planned.sources) == {f"hidden{n}/{part}" for n in (1, 2) for part in parts}
    session = new_session(out, out)
    old = new_session(source, source)
    top = "hidden2/norm/cond/Merge:0" if not functional else "hidden2/norm/cond/Identity:0"
    np.testing.assert_array_equal(session.run(top, feed), old.run(top, feed))
    before = session.weights()
    session.run([op.name for op in session.graph.get_collection("update_ops")], {**feed, "training:0": True})
    after = session.weights()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"hidden{n}/norm/moving_{part}" for n in (1, 2) for part in ("mean", "variance")}


def test_the_head_goes_where_the_last_reused_layer_ends(model: Model) -> None:
    planned = plan_reuse(model, "hidden1", head=HEAD)
    (matmul,) = [name for name in planned.graph.nodes if name.endswith("new/MatMul")]
    assert matmul == "dnn/new/MatMul"
    assert str(planned.graph.inputs(matmul)[0]) == "dnn/hidden1/Relu:0"
    assert "hidden2/kernel" not in planned.graph.nodes


@pytest.mark.parametrize(
    ("activation", "below", "notes"),
    [
        ("relu", "Relu:0", ("the head is added on Relu:0, the activation of hidden",)),
        ("sigmoid", "hidden/BiasAdd:0", ()),  # makes probabilities of logits
    ],
)
def test_an_activation_outside_of_its_layers_scope_comes_along(
    new_network: Any, tmp_path: Path, activation: str, below: str, notes: tuple[str, ...]
) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        activated = getattr(net.tf.nn, activation)(net.dense(X, 5, "hidden", relu=False))
        net.classify(net.dense(activated, 3, "outputs", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    planned = plan_reuse(Model.open(net.save(tmp_path / "model.ckpt")), "hidden", head=HEAD)
    (matmul,) = [name for name in planned.graph.nodes if name.endswith("new/MatMul")]
    assert str(planned.graph.inputs(matmul)[0]) == below
    assert planned.notes[: len(notes)] == notes


def test_the_optimizer_is_the_one_that_is_asked_for(model: Model, tmp_path: Path) -> None:
    planned = plan_reuse(
        model, "hidden1", head=HEAD, freeze="hidden1", recipe=Recipe("momentum", lr="0.05", clip_value=1.0)
    )
    planned.write(tmp_path / "out.ckpt")
    assert set(checkpoint.open(tmp_path / "out.ckpt")) == {
        *("hidden1/kernel", "hidden1/bias", "new/kernel", "new/bias"),
        *("new/kernel/Momentum", "new/bias/Momentum", "global_step"),
    }
    assert planned.graph.nodes["Momentum/update_new/kernel/ApplyMomentum"].op == "ApplyMomentum"
    assert any(name.startswith("clip_by_value") for name in planned.graph.nodes)


def test_one_seed_one_head(model: Model, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        plan_reuse(model, "hidden[12]", head=HEAD, seed=seed).write(tmp_path / name)
    a, b, c = (checkpoint.open(tmp_path / name)["new/kernel"].read() for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_graph_and_its_checkpoint_may_disagree(small: Path, tmp_path: Path) -> None:
    """A weight that the graph has and the checkpoint has not is named, in every way to request it."""
    values = {name: tensor.read() for name, tensor in checkpoint.open(small).items() if name != "hidden2/bias"}
    checkpoint.save(values, tmp_path / "less.ckpt", format="bundle")
    (tmp_path / "less.ckpt.meta").write_bytes(Path(f"{small}.meta").read_bytes())
    model = Model.open(tmp_path / "less.ckpt")
    for arguments in ({"head": HEAD}, {}):
        with pytest.raises(PlanError, match=r"less.ckpt: the graph has hidden2/bias, the checkpoint does not"):
            plan_reuse(model, "hidden[12]", **arguments)
    plan_reuse(model, "hidden1", head=HEAD).write(tmp_path / "out.ckpt")


def test_another_dtype_in_the_target_is_named(new_network: Any, model: Model, tmp_path: Path) -> None:
    net = new_network()
    with net.building():
        net.v1.get_variable("hidden1/kernel", [4, 8], net.tf.float64)
        net.v1.get_variable("hidden1/bias", [8], net.tf.float64)
    target = net.save(tmp_path / "double.ckpt")
    with pytest.raises(PlanError, match=r"hidden1/kernel is float32 in .*small.ckpt, float64 in .*double.ckpt.meta"):
        plan_reuse(model, "hidden1", into=target)


def test_names_that_are_none_are_told_before_anything_is_built(model: Model) -> None:
    with pytest.raises(UnknownName, match=r"no layer hiden; nearest: hidden2, hidden1"):
        plan_reuse(model, "hidden1", head=HEAD, after="hiden")
    with pytest.raises(UnknownName, match="pattern 'hiden1' matches nothing; nearest: hidden1"):
        plan_reuse(model, "hiden1")
    with pytest.raises(GraphError, match="the head names a layer hidden1, which is below the cut"):
        plan_reuse(model, "hidden1", head="hidden1 = dense(3)")
