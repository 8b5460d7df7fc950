"""Random ops of a graph depend on the seed of the run; losses of many forms; loops and conditionals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError
from ckpttool.data.batches import batch_bounds, epoch_order
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=2, batch_size=30, recipe=Recipe(lr="0.1"), seed=5, keep="last", valid="first:30")
OWN = replace(OPTIONS, recipe=None, roles={"training_op": "train"})


@pytest.fixture(
    scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["Switch", "functional"]
)
def chancy(request: pytest.FixtureRequest, new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose dropout has no seed: 0 and 0, as in most programs."""
    network = new_network()
    tf, v1 = network.tf, network.v1
    with network.building(request.param):
        v1.set_random_seed(None)
        X, y, training = network.inputs()
        hidden = network.dense(X, 16, "hidden")
        dropped = v1.cond(training, lambda: tf.nn.dropout(hidden, 0.5), lambda: tf.identity(hidden))
        network.classify(network.dense(dropped, 3, "outputs", relu=False), y, v1.train.GradientDescentOptimizer(0.1))
    saved: Path = network.save(tmp_path_factory.mktemp("chancy") / "chancy.ckpt")
    return saved


@pytest.mark.parametrize("options", [OPTIONS, OWN], ids=["new op", "own op"])
def test_one_seed_gives_the_same_run_twice_and_another_seed_another(
    chancy: Path, data: Path, tmp_path: Path, options: Options
) -> None:
    runs = [
        finetune(Model.open(chancy), data, replace(options, seed=seed), tmp_path / f"{number}.ckpt")
        for number, seed in enumerate((5, 5, 6))
    ]
    first, again, other = ([epoch.loss for epoch in run.history] for run in runs)
    assert first == again
    assert first != other
    kernels = [checkpoint.open(tmp_path / f"{number}.ckpt")["outputs/kernel"].read() for number in (0, 1)]
    np.testing.assert_array_equal(*kernels)


def test_chance_is_the_same_with_cached_features(chancy: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze="hidden", cache_dir=tmp_path / "cache")
    live = finetune(Model.open(chancy), data, options, tmp_path / "live.ckpt")
    cached = finetune(Model.open(chancy), data, replace(options, cache=True), tmp_path / "cached.ckpt")
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], abs=1e-5)


def penalised(network: Any, logits: Any, labels: Any) -> Any:
    """A common form of loss: the mean cross entropy plus the penalties of the collection."""
    tf, v1 = network.tf, network.v1
    for kernel in v1.trainable_variables():
        v1.add_to_collection(v1.GraphKeys.REGULARIZATION_LOSSES, 0.01 * tf.nn.l2_loss(kernel))
    mean = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return tf.add_n([mean, *v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)], name="loss")


def summed(network: Any, logits: Any, labels: Any) -> Any:
    """The loss of programs that weight rows themselves: a sum, divided by the batch."""
    tf = network.tf
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.truediv(tf.reduce_sum(each), tf.cast(tf.shape(each)[0], tf.float32), name="loss")


def turned(network: Any, hidden: Any) -> Any:
    """Pass through a functional loop that uses a variable in each iteration."""
    tf = network.tf
    kernel = network.variable("turn/kernel", [8, 8])
    return tf.while_loop(
        lambda turn, _: turn < 3, lambda turn, h: (turn + 1, tf.tanh(tf.matmul(h, kernel))), [0, hidden]
    )[1]


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
@pytest.mark.parametrize(
    ("loss", "loops"), [(penalised, False), pytest.param(summed, False, marks=pytest.mark.slow), (summed, True)]
)
@pytest.mark.parametrize("options", [OPTIONS, OWN], ids=["new op", "own op"])
def test_training_equals_a_session(
    data: Path,
    tmp_path: Path,
    new_network: type[Any],
    new_session: Callable[..., Any],
    loss: Callable[..., Any],
    loops: bool,
    resource: bool,
    options: Options,
) -> None:
    network = new_network(resource)
    with network.building(functional=True):
        X, y, _ = network.inputs()
        hidden = network.dense(X, 8, "hidden")
        hidden = turned(network, hidden) if loops else hidden
        logits = network.dense(hidden, 3, "outputs", relu=False)
        network.v1.train.GradientDescentOptimizer(0.1).minimize(loss(network, logits, y), name="train")
    path = network.save(tmp_path / "network.ckpt")
    finetune(Model.open(path), data, options, tmp_path / "tuned.ckpt")
    arrays, session = np.load(data, allow_pickle=False), new_session(path, path)
    x, labels = arrays["x_train"][30:], arrays["y_train"][30:]
    for epoch in (1, 2):
        for rows in np.split(epoch_order(270, 5, epoch), batch_bounds(270, 30)[1:-1]):
            session.run("train", {"X:0": x[rows], "y:0": labels[rows]})
    found = checkpoint.open(tmp_path / "tuned.ckpt")
    for name, value in session.weights().items():
        np.testing.assert_allclose(found[name].read(), value, atol=1e-5, err_msg=name)


def test_a_setting_that_nothing_feeds_is_named(data: Path, tmp_path: Path, new_network: type[Any]) -> None:
    network = new_network()
    with network.building():
        X, y, _ = network.inputs()
        keep = network.v1.placeholder(network.tf.float32, [], name="keep_prob")
        dropped = network.tf.nn.dropout(network.dense(X, 8, "hidden"), rate=1 - keep, seed=1)
        network.classify(network.dense(dropped, 3, "outputs", relu=False), y)
    path = network.save(tmp_path / "network.ckpt")
    with pytest.raises(GraphError, match="nothing feeds keep_prob: no role of `inputs`, `labels` or `training`"):
        finetune(Model.open(path), data, OPTIONS, tmp_path / "tuned.ckpt")
    assert not list(tmp_path.glob("tuned*"))
