"""A graph's own training op, without frozen variables: sparse updates of an embedding, and layers outside the loss."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.model.model import Model
from ckpttool.training.options import Options
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=2, batch_size=10, recipe=None, roles={"training_op": "train"}, keep="last", seed=3)


@pytest.fixture(scope="module")
def words(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding and two layers, trained by Adam; a layer with moving averages that the loss does not need."""
    network = new_network()
    tf, v1 = network.tf, network.v1
    with network.building():
        X = v1.placeholder(tf.int32, [None, 3], name="X")
        y = v1.placeholder(tf.int64, [None], name="y")
        training = v1.placeholder_with_default(False, [], name="training")
        with v1.variable_scope("words"):
            embedded = tf.nn.embedding_lookup(network.variable("embedding", [20, 4]), X)
        sums = tf.reduce_sum(embedded, axis=1)
        network.batch_norm(network.dense(sums, 5, "beside"), training, "beside/norm")
        hidden = network.dropout(network.dense(sums, 5, "hidden"), training, "dropout")
        logits = network.dense(hidden, 2, "outputs", relu=False)
        network.classify(logits, y, v1.train.AdamOptimizer(0.01))
    saved: Path = network.save(tmp_path_factory.mktemp("words") / "words.ckpt")
    return saved


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(2)
    x = draw.integers(0, 20, (50, 3))
    path = tmp_path_factory.mktemp("data") / "sentences.npz"
    np.savez(path, x_train=x, y_train=(x[:, 0] > 9).astype(int))
    return path


def moved(before: Path, after: Path) -> set[str]:
    old, new = checkpoint.open(before), checkpoint.open(after)
    assert set(old) == set(new)
    return {name for name in old if old[name].read().tobytes() != new[name].read().tobytes()}


def test_all_that_the_graph_trains_is_trained(words: Path, sentences: Path, tmp_path: Path) -> None:
    finetune(Model.open(words), sentences, OPTIONS, tmp_path / "tuned.ckpt")
    changed = moved(words, tmp_path / "tuned.ckpt")
    assert {"words/embedding", "words/embedding/Adam", "hidden/kernel", "beside/norm/moving_mean"} <= changed
    assert "beside/kernel" not in changed


def test_a_frozen_embedding_keeps_its_slots_too(words: Path, sentences: Path, tmp_path: Path) -> None:
    run = finetune(Model.open(words), sentences, replace(OPTIONS, freeze="words|beside.*"), tmp_path / "tuned.ckpt")
    changed = moved(words, tmp_path / "tuned.ckpt")
    assert {name.partition("/")[0] for name in changed} == {"hidden", "outputs", "beta1_power", "beta2_power"}
    assert {"words/embedding", "beside/kernel", "beside/norm/moving_mean"} <= set(run.unchanged)


def test_a_cached_run_equals_a_live_one(words: Path, sentences: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, freeze="words|beside.*", cache_dir=tmp_path / "cache")
    live = finetune(Model.open(words), sentences, options, tmp_path / "live.ckpt")
    cached = finetune(Model.open(words), sentences, replace(options, cache=True), tmp_path / "cached.ckpt")
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], abs=1e-6)


@pytest.mark.parametrize("train", ["hidden", "outputs"])
def test_what_is_not_to_be_trained_stays_also_beside_the_loss(
    words: Path, sentences: Path, tmp_path: Path, train: str, new_session: Callable[..., Any]
) -> None:
    finetune(Model.open(words), sentences, replace(OPTIONS, train=train), tmp_path / "tuned.ckpt")
    changed = moved(words, tmp_path / "tuned.ckpt")
    assert {name.partition("/")[0] for name in changed} == {train, "beta1_power", "beta2_power"}
    session = new_session(tmp_path / "tuned.ckpt", tmp_path / "tuned.ckpt")
    before = session.weights()
    session.run("train", {"X:0": [[1, 2, 3]], "y:0": [1], "training:0": True})
    after = session.weights()
    assert not {name for name in before if not name.startswith(("beta", train)) and (before[name] != after[name]).any()}
