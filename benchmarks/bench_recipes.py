"""The cost of an epoch with all options of a recipe, and of an epoch of a convolutional network against Keras's `fit`.

    python benchmarks/bench_recipes.py [mnist.npz]

First the chapter's reuse network (784-300-50-50-20-10, hidden[12] frozen, cached, batches of 200): momentum, a cosine
schedule, dropout and max-norm compared with the plain recipe, each epoch with its validation; and with the training
part of the plain epoch alone. Then two conv2d, pooling and dense layers on the images, compared with the same layers in
Keras. Each contestant has its own process; the figures are medians over epochs, without the first two.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool
from ckpttool.training.callbacks.callback import Callback

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"
CONVOLUTIONAL = (
    "conv1 = conv2d(16, 3, relu); pool1 = max_pool(2); conv2 = conv2d(32, 3, relu); pool2 = max_pool(2); "
    "flat = flatten(); hidden = dense(64, relu); outputs = dense(10)"
)
BATCH, VALID = 200, 5000


class Clock(Callback):
    """Records the time at the end of each epoch, validation included."""

    def __init__(self) -> None:
        """Start without epochs."""
        self.times: list[float] = []

    def on_epoch_end(self, epoch: Any) -> None:
        """Record the time."""
        self.times.append(time.perf_counter())


def cached(folder: Path, data: Path, full: bool, whole: bool = True) -> list[float]:
    """Return the seconds of epochs of the plain recipe or of the full one: in total, or of training alone."""
    ckpttool.configure_tensorflow()
    model, tuned = (folder / f"{name}_{full}_{whole}.ckpt" for name in ("new", "tuned"))
    source = ckpttool.Model.open(FIXTURES / "my_model_final.ckpt")
    ckpttool.plan_reuse(source, "hidden[123]", head=HEAD).write(model)
    recipe = ckpttool.Recipe("momentum", schedule="cosine()", max_norm="1.0") if full else ckpttool.Recipe()
    options = ckpttool.Options(
        freeze="hidden[12]",
        recipe=recipe,
        dropout="0.5" if full else None,
        epochs=22,
        batch_size=BATCH,
        valid=f"first:{VALID}",
        cache=True,
        cache_dir=folder / "cache",
    )
    clock = Clock()
    run = ckpttool.finetune(ckpttool.Model.open(model), data, tuned, options, callbacks=clock)
    return np.diff(clock.times).tolist() if whole else [epoch.seconds for epoch in run.history]


def convolutional(folder: Path, data: Path) -> list[float]:
    ckpttool.configure_tensorflow(convolutions=True)
    ckpttool.new([28, 28, 1], CONVOLUTIONAL, folder / "conv.ckpt", ckpttool.Recipe())
    options = ckpttool.Options(epochs=5, batch_size=BATCH, valid=f"first:{VALID}")
    run = ckpttool.finetune(ckpttool.Model.open(folder / "conv.ckpt"), data, folder / "conv_tuned.ckpt", options)
    return [epoch.seconds for epoch in run.history]


def keras_fit(folder: Path, data: Path) -> list[float]:
    import keras

    with np.load(data, allow_pickle=False) as arrays:
        x = arrays["x_train"][VALID:, :, :, np.newaxis].astype(np.float32) / 255
        y = arrays["y_train"][VALID:].astype(np.int32)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
        seconds.append(time.perf_counter() - start)
    return seconds


def main(data: str = str(FIXTURES / "mnist_small.npz")) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:

        def median(contestant: Callable[..., list[float]], *more: object) -> float:
            with ProcessPoolExecutor(1, context) as process:
                return statistics.median(process.submit(contestant, Path(folder), Path(data), *more).result()[2:])

        full, plain, training = median(cached, True), median(cached, False), median(cached, False, False)
        print(f"cached epoch: plain {plain:.4f} s, with all {full:.4f} s, {full / plain:.2f} times (goal 1.5)")
        print(f"  against the plain epoch's training part alone, {training:.4f} s: {full / training:.2f} times")
        ours, its = median(convolutional), median(keras_fit)
        print(f"convolutional epoch: {ours:.2f} s, Keras fit {its:.2f} s, ratio {its / ours:.2f} (goal 1.0)")


if __name__ == "__main__":
    main(*sys.argv[1:])
