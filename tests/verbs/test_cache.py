"""The feature cache from Python: frozen layers in inference mode, several inputs of a cut, ops that mix rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.data.feature_store import FeatureStore
from ckpttool.data.held_out import HeldOut
from ckpttool.model.model import Model
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback, Estimate
from ckpttool.training.features import Features
from ckpttool.verbs.cache import cache


class Listener(Callback):
    """Stores the events of a fill."""

    def __init__(self) -> None:
        self.estimates: list[Estimate] = []
        self.rows: list[int] = []
        self.features: list[Features] = []

    def on_cache_estimate(self, estimate: Estimate) -> None:
        self.estimates.append(estimate)

    def on_cache_progress(self, done: int, rows: int) -> None:
        self.rows.append(done)

    def on_cache_ready(self, features: Features) -> None:
        self.features.append(features)


def test_estimate_progress_and_outcome_are_heard(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckpttool.training.filling.BATCH_BYTES", 100 * 16)
    listener = Listener()
    features = cache(model, data, "hidden1", root=tmp_path, callbacks=listener)
    (estimate,) = listener.estimates
    assert (estimate.rows, estimate.bytes) == (300, 300 * 8 * 4)
    assert features.nbytes == estimate.bytes
    assert estimate.seconds >= 0
    assert listener.rows == [100, 200, 300]
    assert listener.features == [features]
    assert not features.hit
    assert cache(model, data, "hidden1", root=tmp_path, callbacks=listener).hit
    assert len(listener.estimates) == 1


@pytest.mark.parametrize("finishes", [True, False])
def test_what_another_process_is_filling_is_waited_for(
    model: Model, data: Path, tmp_path: Path, finishes: bool
) -> None:
    first = cache(model, data, "hidden1", root=tmp_path / "first")
    ((name, array),) = first.arrays.items()
    other = FeatureStore(tmp_path).entry(first.entry.key)
    filling = other.fill({name: (array.dtype, array.shape[1:])}, len(array))
    filling.append({name: array[:100]})
    waited: list[Path] = []

    class Ends(Listener):
        def on_cache_wait(self, entry: Path) -> None:
            waited.append(entry)
            if finishes:
                filling.append({name: array[100:]})
                filling.finish()
            filling.close()

    features = cache(model, data, "hidden1", root=tmp_path, callbacks=Ends())
    assert (waited, features.hit) == ([other.path], finishes)
    np.testing.assert_array_equal(features.arrays[name], array)


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_batch_norm_is_cached_as_inference_computes_it(
    foreign: Callable[..., Path], data: Path, tmp_path: Path, new_session: Any, functional: bool
) -> None:
    source = foreign("batch_norm", functional)
    features = cache(Model.open(source), data, "hidden1", valid="last:10%", root=tmp_path)
    (array,) = features.arrays.values()
    x = np.load(data, allow_pickle=False)["x_train"]
    session = new_session(source, source)
    hidden = session.run("hidden1/Relu:0", {"X:0": x})
    weights = session.weights()
    gamma, beta, mean, variance = (
        weights[f"hidden1/norm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    expected = gamma * (hidden - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(array, expected, atol=1e-5)


def test_a_cut_through_two_paths_keeps_both(new_network: Any, data: Path, tmp_path: Path, new_session: Any) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        low = net.dense(X, 5, "low")
        high = net.dense(net.dense(low, 4, "middle"), 4, "high")
        net.classify(net.dense(net.tf.concat([low, high], 1), 3, "outputs", relu=False), y)
    source = net.save(tmp_path / "skip.ckpt")
    features = cache(Model.open(source), data, "low|middle", valid="last:10%", root=tmp_path / "cache")
    assert set(features.arrays) == {"low/Relu:0", "middle/Relu:0"}
    x = np.load(data, allow_pickle=False)["x_train"]
    for name, array in features.arrays.items():
        np.testing.assert_allclose(array, new_session(source, source).run(name, {"X:0": x}), atol=1e-6)


def test_what_mixes_the_rows_of_a_batch_is_refused(new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        low = net.dense(X, 5, "low")
        centred = net.tf.subtract(low, net.tf.reduce_mean(low, 0, keepdims=True), name="centred")
        net.classify(net.dense(centred, 3, "outputs", relu=False), y)
    model = Model.open(net.save(tmp_path / "mixed.ckpt"))
    with pytest.raises(GraphError, match="centred:0 depends on the other rows of its batch, so it can't be cached"):
        cache(model, data, "low", root=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_random_cut_is_refused_with_the_reason(foreign: Callable[..., Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"random even in inference mode \(random_uniform.*\), so it can't be cached"):
        cache(Model.open(foreign("always_random")), data, "hidden[12]", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_features_of_a_split_are_its_rows(model: Model, data: Path, tmp_path: Path) -> None:
    features = cache(model, data, "hidden1", valid=50, root=tmp_path)
    splits = Bound.of(model).with_training_rows(data, HeldOut(50), None).splits
    (whole,) = features.arrays.values()
    for split, rows in zip(splits, (slice(0, 250), slice(250, 300)), strict=True):
        (found,) = features.of(splits, split).values()
        np.testing.assert_array_equal(found, whole[rows])
