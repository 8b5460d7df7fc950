"""Networks with TensorFlow 1's own loops: evaluated, trained after or through loops, compared with a plain session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.data.batches import batch_bounds, epoch_order
from ckpttool.graph.ops import ENTERS
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune

STEPS, WIDTH, UNITS, ROWS, VALID = 5, 3, 6, 66, 12


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of five steps, in two classes by the sign of their sum."""
    x = np.random.default_rng(1).normal(size=(ROWS, STEPS, WIDTH)).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "sequences.npz"
    np.savez(path, x_train=x, y_train=(x.sum((1, 2)) > 0).astype(np.int64))
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["reference", "resource"])
def recurrent(request: pytest.FixtureRequest, new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent network with `tf.while_loop` and arrays, with a conditional in the loop and dropout after it."""
    network = new_network(resource=request.param)
    tf, v1 = network.tf, network.v1
    with network.building():
        X = v1.placeholder(tf.float32, [None, STEPS, WIDTH], name="X")
        y = v1.placeholder(tf.int64, [None], name="y")
        with v1.variable_scope("cell"):
            kernel = network.variable("kernel", [WIDTH + UNITS, UNITS])
        steps = tf.TensorArray(tf.float32, STEPS).unstack(tf.transpose(X, [1, 0, 2]))

        def turn(step: Any, state: Any, states: Any) -> Any:
            with v1.name_scope("cell"):
                new = tf.tanh(tf.matmul(tf.concat([steps.read(step), state], 1), kernel))
            new = v1.cond(step < 1, lambda: 2 * new, lambda: tf.identity(new))
            return step + 1, new, states.write(step, new)

        start = (0, tf.zeros([tf.shape(X)[0], UNITS]), tf.TensorArray(tf.float32, STEPS))
        _, _, states = tf.while_loop(lambda step, *_: step < STEPS, turn, start)
        mean = tf.reduce_mean(states.stack(), axis=0, name="cell/mean")
        outputs = network.dense(tf.nn.dropout(mean, rate=1e-9, seed=2), 2, "outputs", relu=False)
        network.classify(outputs, y, v1.train.MomentumOptimizer(0.3, 0.9))
    saved: Path = network.save(tmp_path_factory.mktemp("recurrent") / "recurrent.ckpt")
    return saved


def by_session(session: Any, data: Path, epochs: int, batch: int, seed: int) -> dict[str, Any]:
    """Train with the graph's own op in a plain loop, on the tool's batches."""
    arrays = np.load(data, allow_pickle=False)
    x, y = arrays["x_train"][VALID:], arrays["y_train"][VALID:]
    for epoch in range(1, epochs + 1):
        for rows in np.split(epoch_order(len(x), seed, epoch), batch_bounds(len(x), batch)[1:-1]):
            session.run("train", {"X:0": x[rows], "y:0": y[rows]})
    found: dict[str, Any] = session.weights()
    return found


@pytest.mark.parametrize("optimizer", [None, Recipe("momentum", lr="0.3")], ids=["its own op", "a new op"])
def test_training_through_a_loop_equals_a_session(
    recurrent: Path, sequences: Path, tmp_path: Path, new_session: Callable[..., Any], optimizer: Recipe | None
) -> None:
    roles = {} if optimizer else {"training_op": "train"}
    options = Options(
        epochs=3, batch_size=10, seed=4, valid=f"first:{VALID}", keep="last", recipe=optimizer, roles=roles
    )
    run = finetune(Model.open(recurrent), sequences, options, tmp_path / "tuned.ckpt")
    tuned = checkpoint.open(tmp_path / "tuned.ckpt")
    expected = by_session(new_session(recurrent, recurrent), sequences, 3, 10, 4)
    for name, value in expected.items():
        np.testing.assert_allclose(tuned[name].read(), value, atol=1e-6)
    assert not np.array_equal(expected["cell/kernel"], checkpoint.open(recurrent)["cell/kernel"].read())
    assert run.history[-1].loss < run.history[0].loss


def test_a_frozen_loop_stays_and_what_is_above_it_learns(recurrent: Path, sequences: Path, tmp_path: Path) -> None:
    options = Options(epochs=2, batch_size=10, freeze="cell", keep="last", cache_dir=tmp_path / "cache")
    live = finetune(Model.open(recurrent), sequences, options, tmp_path / "live.ckpt")
    cached_options = Options(**{**vars(options), "cache": True})
    cached = finetune(Model.open(recurrent), sequences, cached_options, tmp_path / "cached.ckpt")
    assert live.unchanged == cached.unchanged == ("cell/kernel",)
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], abs=1e-6)


def test_evaluation_equals_a_session(recurrent: Path, sequences: Path, new_session: Callable[..., Any]) -> None:
    model = Model.open(recurrent)
    assert any(node.op in ENTERS for node in model.graph.nodes.values())
    arrays = np.load(sequences, allow_pickle=False)
    feed = {"X:0": arrays["x_train"], "y:0": arrays["y_train"]}
    assert evaluate(model, sequences, split="train").loss == pytest.approx(
        new_session(recurrent, recurrent).run("loss/loss:0", feed), abs=1e-6
    )
