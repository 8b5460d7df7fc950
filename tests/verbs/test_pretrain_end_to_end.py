"""End to end: the layers of an autoencoder, trained one by one, are then trained together with all decoders."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import Interrupted, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training import pretraining_record
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import Pretrained, pretrain

OPTIONS = Options(epochs=2, batch_size=20, recipe=Recipe("adam(0.01)"), seed=3, keep="last", valid="first:20")
LAYERS = "hidden1 = dense(5, tanh); hidden2 = dense(3, tanh)"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Pretrained]:
    """Pretrain end to end on random rows of a shape; arguments override the defaults."""

    def run(
        name: str = "out.ckpt", text: str = "autoencoder", shape: tuple[int, ...] = (6,), **more: Any
    ) -> Pretrained:
        rows = np.random.default_rng(0).random((60, *shape)).astype(np.float32)
        np.savez(tmp_path / "rows.npz", x_train=rows)
        method, layers = PretrainingMethod.read(text, "`method`"), more.pop("layers", LAYERS)
        options = replace(OPTIONS, cache_dir=tmp_path / "cache", **more.pop("options", {}))
        more = {"shape": shape, "end_to_end": True, **more}
        return pretrain(tmp_path / "rows.npz", layers, method, tmp_path / name, options, **more)

    return run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Store the rows of each picture instead of drawing it."""
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(pretraining_record, "draw_pretraining", lambda *given: kept.append(given[4]))
    return kept


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("autoencoder(noise=gaussian(0.1))", marks=pytest.mark.slow),
        "autoencoder(tied=True, compare=cross_entropy)",
    ],
)
def test_all_layers_begin_with_what_each_was_trained_to(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path, text: str
) -> None:
    """With a rate of zero they decode rows as the decoders of all stages do one after the other."""
    done = run(text=text, options={"recipe": Recipe("sgd(1e-30)")}, recording=Recording(plot=tmp_path / "plot.png"))
    (rows,) = drawn
    assert list(rows) == ["as given", "from hidden1", "from hidden2", "from all layers"]
    np.testing.assert_allclose(rows["from all layers"], rows["from hidden2"], rtol=1e-6)
    assert [stage["layer"] for stage in done.stages] == ["hidden1", "hidden2", "all layers"]


def test_nothing_is_frozen_and_the_decoders_are_thrown_away(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    last = run().stages[-1]
    names = [f"{layer}/{part}" for layer in ("hidden1", "hidden2") for part in ("kernel", "bias")]
    decoders = [f"pretraining/decoder/{name}" for name in (*names[2:], *names[:2])]
    assert [row["target"] for row in last["plan"] if row["train"]] == [*names, *decoders]
    assert not last["unchanged"]
    assert last["history"][1]["loss"] < last["history"][0]["loss"]
    assert sorted(checkpoint.open(tmp_path / "out.ckpt")) == sorted(names)


def test_images_are_decoded_through_poolings_as_keras_enlarges_them(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    layers = "conv = conv2d(2, 3, relu); pool = max_pool(); flat = flatten(); code = dense(3, tanh)"
    run(layers=layers, shape=(6, 6, 1), recording=Recording(plot=tmp_path / "plot.png"))
    assert drawn[0]["from all layers"].shape == (10, 6, 6, 1)
    import keras
    import tensorflow as tf

    from ckpttool.runtime.pretraining.autoencoder import led_back

    pooled = np.random.default_rng(0).random((2, 3, 3, 2)).astype(np.float32)
    below = [tf.zeros([1, 3, 3, 2]), tf.zeros([1, 6, 6, 2])]
    np.testing.assert_array_equal(led_back(pooled.reshape(2, 18), below), keras.layers.UpSampling2D()(pooled))
    means = pooled.mean(axis=(1, 2))
    np.testing.assert_array_equal(led_back(means, below[:1])[:, 1, 2], means)
    with pytest.raises(PlanError, match=r"no decoder leads back from rows of \[2\] to \[3, 3, 4\]"):
        led_back(means, [tf.zeros([1, 3, 3, 4])])


class Stop(Callback):
    """Ends pretraining in its last stage."""

    def __init__(self) -> None:
        self.interrupt, self.epochs = Interrupt(), 0

    def on_epoch_end(self, epoch: Any) -> None:
        self.epochs += 1
        if self.epochs == 5:
            self.interrupt.request()


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_result(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    run("whole.ckpt")
    stop = Stop()
    with pytest.raises(Interrupted):
        run("stopped.ckpt", callbacks=stop, interrupt=stop.interrupt)
    with pytest.raises(PlanError, match=r"`resume`: .* is of a run with other options: end_to_end was True, now False"):
        run("stopped.ckpt", end_to_end=False, resume=True)
    run("stopped.ckpt", resume=True)
    whole, stopped = values(tmp_path / "whole.ckpt"), values(tmp_path / "stopped.ckpt")
    for name in whole:
        np.testing.assert_array_equal(stopped[name], whole[name])


def test_the_layers_of_a_model_stay(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    run("below.ckpt", layers="hidden1 = dense(5, tanh)", end_to_end=False)
    model = Model.open(tmp_path / "below.ckpt")
    done = run(layers="hidden2 = dense(4, tanh); hidden3 = dense(2, tanh)", model=model)
    assert all(set(stage["unchanged"]) >= {"hidden1/kernel", "hidden1/bias"} for stage in done.stages)
    assert done.stages[2]["plan"][-2]["target"] == "pretraining/decoder/hidden2/kernel"


@pytest.mark.parametrize(
    ("text", "why"), [("rbm", "rbm has no decoders"), ("corrupt", "corrupt trains all layers together already")]
)
def test_other_methods_have_no_decoders(run: Callable[..., Pretrained], tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(PlanError, match=f"`end_to_end` is for `method` autoencoder, whose decoders are stacked: {why}"):
        run(text=text)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]
