"""A loss that depends on the inputs alone: an autoencoder is trained, cached and evaluated on rows without labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import DataError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=3, batch_size=20, recipe=Recipe(lr="0.1"), seed=5, valid="first:20", keep="last")


@pytest.fixture(scope="module")
def autoencoder(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network 4-3-4 whose loss compares its outputs with its inputs."""
    network = new_network()
    with network.building():
        x = network.v1.placeholder("float32", [None, 4], name="X")
        outputs = network.dense(network.dense(x, 3, "hidden"), 4, "outputs", relu=False)
        network.tf.reduce_mean(network.tf.square(outputs - x), name="loss")
    path = network.save(tmp_path_factory.mktemp("autoencoder") / "autoencoder.ckpt")
    return Model.open(path)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows of 4 numbers."""
    path = tmp_path_factory.mktemp("unlabelled") / "rows.npz"
    np.savez(path, x_train=np.random.default_rng(2).normal(size=(120, 4)).astype(np.float32))
    return path


def test_its_steps_are_those_of_a_plain_tensorflow_loop(autoencoder: Model, unlabelled: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    from ckpttool.data.batches import epoch_order

    run = finetune(autoencoder, unlabelled, OPTIONS, tmp_path / "tuned.ckpt")
    x, tf1 = np.load(unlabelled)["x_train"][20:], tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{autoencoder.path}.meta")
        step = tf1.train.GradientDescentOptimizer(0.1).minimize(tf1.get_default_graph().get_tensor_by_name("loss:0"))
        saver.restore(session, str(autoencoder.path))
        for epoch in (1, 2, 3):
            for rows in np.split(epoch_order(100, 5, epoch), 5):
                session.run(step, {"X:0": x[rows]})
        expected = session.run({v.op.name: v for v in tf1.trainable_variables()})
    written = checkpoint.open(tmp_path / "tuned.ckpt")
    for name, value in expected.items():
        np.testing.assert_allclose(written[name].read(), value, atol=1e-6)
    assert run.history[-1].loss < run.history[0].loss
    assert run.history[-1].valid_accuracy is None


def test_a_cached_run_gives_the_same(autoencoder: Model, unlabelled: Path, tmp_path: Path) -> None:
    live, cached = (
        finetune(
            autoencoder,
            unlabelled,
            Options(**{**vars(OPTIONS), "freeze": "hidden", "cache": cache, "cache_dir": tmp_path / "cache"}),
            tmp_path / f"{cache}.ckpt",
        )
        for cache in (False, True)
    )
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history])
    assert set(cached.unchanged) == {"hidden/kernel", "hidden/bias"}


def test_it_is_judged_by_its_loss_alone(autoencoder: Model, unlabelled: Path) -> None:
    found = evaluate(autoencoder, unlabelled, split="train", valid="first:20").as_json()
    x = np.load(unlabelled)["x_train"][20:]
    weights = {name: tensor.read() for name, tensor in autoencoder.checkpoint.items()}
    hidden = np.maximum(x @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    outputs = hidden @ weights["outputs/kernel"] + weights["outputs/bias"]
    assert found.pop("loss") == pytest.approx(np.mean((outputs - x) ** 2), rel=1e-5)
    reason = "the loss is computed from the inputs only, without labels"
    assert found == {"rows": 100, "accuracy": None, "no_accuracy": reason}


def test_its_layers_are_diagnosed(autoencoder: Model, unlabelled: Path) -> None:
    assert [(each.layer, each.gradient_std is not None) for each in diagnose(autoencoder, unlabelled)] == [
        ("hidden", True),
        ("outputs", True),
    ]


def test_a_loss_of_labels_still_wants_them(small: Path, unlabelled: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="y_train"):
        finetune(Model.open(small), unlabelled, OPTIONS, tmp_path / "tuned.ckpt")
