"""`freeze`: the written model is trained by a plain TensorFlow program, and its frozen variables do not change."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool.cli import main
from ckpttool.core.errors import ExistingOutput, PlanError, UnknownName
from ckpttool.graph import files
from ckpttool.graph.contents.variables import variables
from ckpttool.model.model import Model
from ckpttool.verbs.freeze import freeze_graph, plan_freeze

METHODS = ("var-list", "stop-gradient")
KINDS = ((False, False), (False, True), (True, True))
"""Functional conditionals or Switch and Merge, resource or reference variables."""


@pytest.fixture
def plain(new_network, tmp_path):
    """Return a prefix of hidden1, hidden10, hidden2, outputs, with Momentum."""
    with new_network().building() as net:
        X, y, _ = net.inputs()
        h = net.dense(net.dense(net.dense(X, 5, "hidden1"), 5, "hidden10"), 4, "hidden2")
        net.classify(net.dense(h, 3, "outputs", relu=False), y, net.v1.train.MomentumOptimizer(0.1, 0.9))
    return net.save(tmp_path / "plain.ckpt")


def normalised(new_network, prefix, functional, resource, optimizer):
    """Save a network with batch norm and dropout in each of two layers, UPDATE_OPS run by its training op."""
    with new_network(resource).building(functional) as net:
        h, y, training = net.inputs()
        for number in (1, 2):
            h = net.batch_norm(net.dense(h, 6, f"h{number}", relu=False), training, f"bn{number}")
            h = net.dropout(net.tf.nn.elu(h, name=f"act{number}"), training, f"drop{number}")
        net.classify(net.dense(h, 3, "out", relu=False), y, getattr(net.v1.train, optimizer)(0.1))
    return net.save(prefix)


def moved(before, after):
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("functional", "resource"), KINDS)
def test_frozen_means_frozen(new_network, new_session, feed, tmp_path, method, functional, resource):
    """Also with Adam, which moves a variable by past gradients if the present one is zero."""
    model = normalised(new_network, tmp_path / "model.ckpt", functional, resource, "AdamOptimizer")
    planned = plan_freeze(Model.open(model), "h1|bn1", method)
    planned.write(tmp_path / "frozen.ckpt")
    session = new_session(tmp_path / "frozen.ckpt", tmp_path / "frozen.ckpt")
    before = session.weights()
    for _ in range(3):
        session.run("train", {**feed, "training:0": True})
    frozen = {f"h1/{part}" for part in ("kernel", "bias")}
    frozen |= {f"bn1/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    names = moved(before, session.weights())
    assert {name for name in before if name.partition("/")[0] in ("h2", "bn2", "out")} <= names
    assert not frozen & names
    assert set(planned.frozen) == frozen
    again = new_session(session.save(tmp_path / "again.ckpt"), tmp_path / "again.ckpt")
    assert not moved(session.weights(), again.weights())


@pytest.mark.parametrize(("functional", "resource"), KINDS)
def test_frozen_layers_run_in_inference_mode_and_the_others_as_they_are_told(
    new_network, new_session, feed, tmp_path, functional, resource
):
    model = normalised(new_network, tmp_path / "model.ckpt", functional, resource, "GradientDescentOptimizer")
    old = new_session(model, model)
    whole = freeze_graph(files.load(model), ["h1/kernel", "h1/bias", *bn("bn1")])
    new = new_session(whole, model)
    inference = old.run("act1:0", feed)
    np.testing.assert_array_equal(new.run("act1:0", feed), inference)
    np.testing.assert_array_equal(new.run("act1:0", {**feed, "training:0": True}), inference)
    assert not np.array_equal(old.run("act1:0", {**feed, "training:0": True}), inference)
    live = new.run("act2:0", {**feed, "training:0": True})
    assert not np.array_equal(live, new.run("act2:0", feed))


def bn(layer):
    return [f"{layer}/gamma", f"{layer}/beta"]


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_layer_above_trained_ones_passes_gradients_on(new_network, new_session, feed, tmp_path, method):
    model = normalised(new_network, tmp_path / "model.ckpt", False, False, "GradientDescentOptimizer")
    planned = plan_freeze(Model.open(model), "h2|bn2", method)
    session = new_session(planned.graph, model)
    before = session.weights()
    session.run("train", {**feed, "training:0": True})
    names = moved(before, session.weights())
    assert {"h1/kernel", "bn1/gamma", "bn1/moving_mean", "out/kernel"} <= names
    assert not any(name.startswith(("h2/", "bn2/")) for name in names)
    assert any(note.startswith("frozen above layers that are trained: h2/kernel") for note in planned.notes)
    trainable = [v.name for v in variables(planned.graph).values() if v.trainable]
    assert not any(name.startswith(("h2/", "bn2/")) for name in trainable)


@pytest.mark.parametrize(("functional", "resource"), KINDS)
def test_gradients_through_frozen_layers_are_those_of_the_inference_mode(
    new_network, new_session, feed, tmp_path, functional, resource
):
    """Pinning must reach the existing gradient ops: one step shows it."""
    with new_network(resource).building(functional) as net:
        X, y, training = net.inputs()
        h = net.batch_norm(net.dense(X, 5, "h1"), training, "bn1")
        net.classify(net.dense(h, 3, "out", relu=False), y, net.v1.train.GradientDescentOptimizer(0.1))
    model = net.save(tmp_path / "model.ckpt")
    old, new = new_session(model, model), new_session(freeze_graph(files.load(model), bn("bn1")), model)
    old.run("train", feed)
    new.run("train", {**feed, "training:0": True})
    for name in ("h1/kernel", "h1/bias", "out/kernel", "out/bias"):
        np.testing.assert_allclose(new.weights()[name], old.weights()[name], rtol=1e-6)


def test_var_list_leaves_the_variables_out_of_the_collection_and_the_training_op(plain, tmp_path, new_session, feed):
    planned = plan_freeze(Model.open(plain), "hidden1|hidden2")
    session = new_session(planned.graph, plain)
    names = [variable.op.name for variable in session.graph.get_collection("trainable_variables")]
    assert names == ["hidden10/kernel", "hidden10/bias", "outputs/kernel", "outputs/bias"]
    before = session.weights()
    session.run("train", feed)
    changed = moved(before, session.weights())
    assert {name for name in changed if not name.endswith("Momentum")} == set(names)
    assert not any(name.startswith(("hidden1/", "hidden2/")) for name in changed)
    assert "StopGradient" not in {node.op for node in planned.graph.nodes.values()}


def test_stop_gradient_keeps_optimizers_that_come_later_out(plain, new_session, feed):
    planned = plan_freeze(Model.open(plain), "hidden1|hidden10", "stop-gradient")
    assert planned.graph.nodes["hidden10/Relu/stop_gradient"].op == "StopGradient"
    session = new_session(planned.graph, plain)
    with session.graph.as_default():
        trainable = session.v1.trainable_variables()
        loss = session.graph.get_tensor_by_name("loss/loss:0")
        gradients = session.v1.gradients(loss, trainable)
    without = [v.op.name for v, gradient in zip(trainable, gradients, strict=True) if gradient is None]
    assert without == ["hidden1/kernel", "hidden1/bias", "hidden10/kernel", "hidden10/bias"]


@pytest.mark.parametrize("resource", [False, True])
def test_stop_gradient_also_stops_a_penalty_on_a_frozen_kernel(new_network, new_session, tmp_path, feed, resource):
    with new_network(resource).building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(net.dense(X, 5, "h1"), 3, "out", relu=False), y)
        penalty = net.tf.nn.l2_loss(net.v1.trainable_variables("h1/kernel")[0])
        total = net.tf.add(net.graph.get_tensor_by_name("loss/loss:0"), penalty, name="total")
        net.v1.train.GradientDescentOptimizer(0.1).minimize(total)
    model = net.save(tmp_path / "model.ckpt")
    planned = plan_freeze(Model.open(model), "h1", "stop-gradient")
    session = new_session(planned.graph, model)
    with session.graph.as_default():
        kernel = session.v1.trainable_variables("h1/kernel")
        assert session.v1.gradients(session.graph.get_tensor_by_name("total:0"), kernel) == [None]
    assert session.run("total:0", feed) == new_session(model, model).run("total:0", feed)


def test_freezing_again_adds_to_what_is_frozen(plain, tmp_path):
    plan_freeze(Model.open(plain), "hidden1").write(tmp_path / "once.ckpt")
    planned = plan_freeze(Model.open(tmp_path / "once.ckpt"), "hidden10")
    assert [row.target for row in planned.rows if row.train] == [
        *("hidden2/kernel", "hidden2/bias", "outputs/kernel", "outputs/bias")
    ]


def test_a_graph_without_a_training_op_gets_the_collection_change_only(new_network, tmp_path, new_session):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(net.dense(X, 5, "h1"), 3, "out", relu=False), y)
    model = net.save(tmp_path / "model.ckpt")
    planned = plan_freeze(Model.open(model), "h1")
    assert set(planned.graph.nodes) == set(files.load(model).nodes)
    trainable = new_session(planned.graph, model).graph.get_collection("trainable_variables")
    assert [variable.op.name for variable in trainable] == ["out/kernel", "out/bias"]


def test_the_plan_says_what_is_frozen_and_what_tensorflow_would_have_taken(plain):
    planned = plan_freeze(Model.open(plain), "hidden1")
    assert [(row.layer, row.target, row.shape, row.train) for row in planned.rows][:3] == [
        ("hidden1", "hidden1/kernel", (4, 5), False),
        ("hidden1", "hidden1/bias", (5,), False),
        ("hidden10", "hidden10/kernel", (5, 5), True),
    ]
    assert planned.notes[:2] == (
        "TensorFlow's prefix match would also take: hidden10/kernel, hidden10/bias",
        "the cut: hidden1/Relu:0",
    )
    assert planned.notes[-1].startswith("kept, although they are no longer updated: hidden1/kernel/Momentum")


def test_bad_requests_are_refused_and_nothing_is_written(plain, tmp_path):
    with pytest.raises(UnknownName, match=r"pattern 'hiden1' matches nothing; nearest: hidden1"):
        plan_freeze(Model.open(plain), "hiden1")
    with pytest.raises(PlanError, match=r"no layer is left to train: '.\*' freezes all 8 weights"):
        plan_freeze(Model.open(plain), ".*")
    before = plain.with_suffix(".ckpt.index").read_bytes()
    with pytest.raises(ExistingOutput):
        plan_freeze(Model.open(plain), "hidden1").write(plain)
    assert plain.with_suffix(".ckpt.index").read_bytes() == before


def test_the_command_prints_the_plan_and_writes(plain, tmp_path):
    out = tmp_path / "frozen.ckpt"
    arguments = ["freeze", str(plain), "--layers", "hidden1", "-o", str(out), "--json"]
    dry = CliRunner().invoke(main, [*arguments, "--plan"])
    assert dry.exit_code == 0
    assert not list(tmp_path.glob("frozen*"))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(dry.stdout)
    first = {"layer": "hidden1", "target": "hidden1/kernel", "shape": [4, 5], "source": "hidden1/kernel"}
    assert json.loads(done.stdout)[0] == {**first, "train": False}
    assert "the cut: hidden1/Relu:0" in done.stderr
    assert f"{out}: written and read back, 2 variables frozen" in done.stderr
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert again.stderr.endswith(f"Error: {out}.meta exists already; --overwrite replaces it\n")
