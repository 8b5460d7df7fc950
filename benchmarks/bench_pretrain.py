"""An epoch of pretraining compared with peers in one run: Keras's `fit`, no cache, scikit-learn's BernoulliRBM.

    python benchmarks/bench_pretrain.py [autoencoder cached rbm] [--data mnist.npz]

The rows are MNIST's 60,000, batches of 100. `autoencoder` is 784-300-784 with Adam; `cached` is the next layer,
300-100-300, with and without cached features; `rbm` is 784-256 with CD-1. Epochs after the first are counted.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool
from ckpttool.training.callbacks.callback import Callback

BATCH, EPOCHS, HIDDEN, ABOVE, UNITS = 100, 4, 300, 100, 256
FIRST = f"hidden1 = dense({HIDDEN}, elu)"


class Clock(Callback):
    """Records the seconds of each epoch's training, by stage."""

    def __init__(self) -> None:
        """Start without stages."""
        self.stages: list[list[float]] = []

    def on_run_begin(self, history: Any) -> None:
        """Start a stage."""
        self.stages.append([])

    def on_epoch_end(self, epoch: Any) -> None:
        """Record an epoch."""
        self.stages[-1].append(epoch.seconds)


def ours(data: Path, layers: str, method: str, optimizer: str, cache: bool = True) -> list[float]:
    """Return the seconds of the epochs of the last stage, without the first."""
    clock, read = Clock(), ckpttool.PretrainingMethod.read(method, "method")
    with tempfile.TemporaryDirectory() as folder:
        recipe = ckpttool.Recipe(optimizer)
        options = ckpttool.Options(recipe=recipe, epochs=EPOCHS, batch_size=BATCH, cache_dir=folder, valid=100)
        # Images that change in each epoch cannot be cached; a shift by 0 changes none.
        options = options if cache else replace(options, augment="shift(0)")
        ckpttool.pretrain(data, layers, read, Path(folder) / "out.ckpt", options, shape=[784], callbacks=clock)
    return clock.stages[-1][1:]


def of_keras(data: Path) -> list[float]:
    """Return the seconds of epochs of the same autoencoder in Keras."""
    import keras

    x = rows(data)
    layers = [keras.Input((784,)), keras.layers.Dense(HIDDEN, "elu"), keras.layers.Dense(784)]
    network, seconds = keras.Sequential(layers), list[float]()
    network.compile(keras.optimizers.Adam(), "mse")
    for _ in range(EPOCHS):
        start = time.perf_counter()
        network.fit(x, x, batch_size=BATCH, verbose=0)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def of_scikit_learn(data: Path) -> list[float]:
    """Return the seconds of epochs of a BernoulliRBM of the same size."""
    from sklearn.neural_network import BernoulliRBM

    x, seconds = rows(data), list[float]()
    machine = BernoulliRBM(UNITS, learning_rate=0.05, batch_size=BATCH, random_state=0)
    for _ in range(2):
        start = time.perf_counter()
        machine.set_params(n_iter=1).fit(x)
        seconds.append(time.perf_counter() - start)
    return seconds


def rows(data: Path) -> Any:
    """Return the rows as numbers from 0 to 1."""
    with np.load(data, allow_pickle=False) as arrays:
        return arrays["x_train"].reshape(-1, 784)[100:].astype(np.float32) / 255


def main() -> None:
    """Print a line for each row."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", nargs="*", default=["autoencoder", "cached", "rbm"])
    asked.add_argument("--data", type=Path, default=Path("mnist.npz"))
    given = asked.parse_args()
    ckpttool.configure_tensorflow()
    data, two = given.data, f"{FIRST}; hidden2 = dense({ABOVE}, elu)"
    contestants: dict[str, tuple[Callable[[], list[float]], Callable[[], list[float]], str, float]] = {
        "autoencoder": (lambda: ours(data, FIRST, "autoencoder", "adam"), lambda: of_keras(data), "Keras fit", 1.0),
        "cached": (
            lambda: ours(data, two, "autoencoder", "adam"),
            lambda: ours(data, two, "autoencoder", "adam", cache=False),
            "without",
            3.0,
        ),
        "rbm": (
            lambda: ours(data, f"hidden = dense({UNITS}, sigmoid)", "rbm", "sgd(0.05)"),
            lambda: of_scikit_learn(data),
            "BernoulliRBM",
            5.0,
        ),
    }
    for row in given.rows:
        mine, peer, name, goal = contestants[row]
        found, theirs = mine(), peer()
        figures = f"{min(found):.2f} s ({statistics.median(found):.2f}), {name} {min(theirs):.2f} s"
        print(f"{row:<12} {figures} ({statistics.median(theirs):.2f}): x {min(theirs) / min(found):.1f}, goal {goal:g}")


if __name__ == "__main__":
    main()
