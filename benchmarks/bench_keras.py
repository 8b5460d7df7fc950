"""Transfer learning with a Keras model compared with Keras itself, in one run.

    python benchmarks/bench_keras.py [ROW ...]

MobileNetV2 with random weights, 96x96x3, 1,000 uint8 images of 5 classes and 100 for validation, batches of 50.
The rows are `head` (base frozen, a new head, 10 epochs), `top` (the same with Keras's last 30 layers trained), `open`
(open the file as a graph) and `all` (an epoch with nothing frozen). Each contestant has its own process, which has
imported its modules before the clock starts; opening the file counts, and the whole run: the cache, the epochs, each
with its validation, and the writing. The figures are the best and the median of some runs.
"""

import contextlib
import importlib
import multiprocessing
import pkgutil
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SHAPE, IMAGES, VALID, CLASSES, BATCH, EPOCHS, TRAINED = (96, 96, 3), 1000, 100, 5, 50, 10, 30
RATE = 0.001
ROUNDS = 3
BASE, MODEL, DATA = "base.keras", "new.keras", "images.npz"


def prepare(folder: Path) -> list[str]:
    """Write the base, a model with a head on it, and the images; return Keras's names of the base's layers."""
    import keras

    import ckpttool

    keras.utils.set_random_seed(0)
    base = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=SHAPE)
    base.save(folder / BASE)
    keras.Model(base.input, head(base.output)).save(folder / "whole.keras")
    source = ckpttool.Model.open(folder / BASE)
    made = "pool = global_avg_pool(); outputs = dense(5)"
    ckpttool.plan_reuse(source, ".*", head=made, preprocess="keras(tf)").write(folder / MODEL)
    drawn = np.random.default_rng(0)
    rows = {"train": IMAGES, "valid": VALID}
    images = {f"x_{name}": drawn.integers(0, 256, (count, *SHAPE), np.uint8) for name, count in rows.items()}
    arrays: dict[str, Any] = {**images, **{f"y_{name}": np.arange(count) % CLASSES for name, count in rows.items()}}
    np.savez(folder / DATA, **arrays)
    return [layer.name for layer in base.layers]


def head(features: Any) -> Any:
    """Return the outputs of a new head."""
    import keras

    return keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(features))


def pairs(folder: Path) -> list[tuple[Any, Any]]:
    """Return the images as Keras's inputs with their labels: for training and for validation."""
    with np.load(folder / DATA, allow_pickle=False) as arrays:
        return [(arrays[f"x_{name}"].astype("float32") / 127.5 - 1, arrays[f"y_{name}"]) for name in ("train", "valid")]


def fitted(model: Any, train: tuple[Any, Any], valid: tuple[Any, Any], epochs: int) -> list[float]:
    """Fit a model; return the seconds of each epoch, validation included."""
    import keras

    seconds: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(time.perf_counter() - self.start)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"])
    given = {"validation_data": valid, "batch_size": BATCH, "epochs": epochs, "verbose": 0}
    model.fit(*train, callbacks=[Clock()], **given)
    return seconds


def keras_fit(folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Fit the base with a head, some layers frozen; return the total seconds, then those of each epoch."""
    import keras

    start = time.perf_counter()
    base = keras.models.load_model(folder / BASE, compile=False)
    for layer in base.layers:
        layer.trainable = layer.name not in frozen
    net = keras.Model(base.input, head(base.output))
    train, valid = pairs(folder)
    each = fitted(net, train, valid, epochs)
    net.save(folder / "fitted.keras")
    return [time.perf_counter() - start, *each]


def keras_by_hand(folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Compute the base's features once, and fit a head on them."""
    import keras

    del frozen
    start = time.perf_counter()
    base = keras.models.load_model(folder / BASE, compile=False)
    features = [(base.predict(x, batch_size=BATCH, verbose=0), y) for x, y in pairs(folder)]
    given = keras.Input(features[0][0].shape[1:])
    each = fitted(keras.Model(given, head(given)), features[0], features[1], epochs)
    keras.Model(base.input, head(base.output)).save(folder / "by_hand.keras")
    return [time.perf_counter() - start, *each]


def ours(folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Fine-tune the model, with a new cache if something is frozen; return the seconds as `keras_fit` does.

    An epoch lasts from the end of the previous one, including validation; the first one is its training alone.
    """
    import ckpttool

    ends: list[float] = []

    class Clock(ckpttool.Callback):
        def on_epoch_end(self, epoch: Any) -> None:
            ends.append(time.perf_counter())

    names = "|".join(map(re.escape, frozen)) or None
    recipe = ckpttool.Recipe(f"adam({RATE})")
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        options = ckpttool.Options(
            freeze=names, recipe=recipe, epochs=epochs, batch_size=BATCH, cache=bool(frozen), cache_dir=Path(cache)
        )
        start = time.perf_counter()
        model = ckpttool.Model.open(folder / MODEL)
        tuned = folder / "tuned.keras"
        run = ckpttool.finetune(model, folder / DATA, tuned, options, overwrite=True, callbacks=Clock())
        return [time.perf_counter() - start, run.history[0].seconds, *(np.diff(ends).tolist())]


def opened(folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Open the file as a graph that can be run."""
    import ckpttool

    del frozen, epochs
    return clocked(lambda: ckpttool.Model.open(folder / "whole.keras"))


def loaded(folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Load the file in Keras."""
    import keras

    del frozen, epochs
    return clocked(lambda: keras.models.load_model(folder / "whole.keras", compile=False))


def clocked(action: Callable[[], object]) -> list[float]:
    """Return the seconds of the second call: the first one builds what Keras keeps."""
    action()
    start = time.perf_counter()
    action()
    return [time.perf_counter() - start]


Contestant = Callable[[Path, list[str], int], list[float]]


def measured(contestant: Contestant, folder: Path, frozen: list[str], epochs: int) -> list[float]:
    """Run a contestant in this process, without output, after importing its modules."""
    import ckpttool

    for module in pkgutil.walk_packages(ckpttool.__path__, "ckpttool."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ckpttool.configure_tensorflow(convolutions=True)
    import keras  # noqa: F401 - not counted
    import tensorflow as tf

    tf.constant(0.0) + 1.0  # the first op finds the devices
    with contextlib.redirect_stdout(None):
        return contestant(folder, frozen, epochs)


def rows(names: list[str]) -> Iterator[tuple[str, Contestant, list[tuple[Contestant, float]], list[str], int, slice]]:
    """Yield the measurements: a row's name, ours, the peers with the goals, frozen layers, epochs, what counts."""
    whole = slice(0, 1)
    yield "head", ours, [(keras_fit, 5.0), (keras_by_hand, 1 / 1.2)], names, EPOCHS, whole
    yield "top", ours, [(keras_fit, 1.5)], names[:-TRAINED], EPOCHS, whole
    yield "open", opened, [(loaded, 0.5)], [], 0, whole
    yield "all", ours, [(keras_fit, 1.0)], [], 3, slice(2, None)


def main(*wanted: str) -> None:
    """Print a line for each row and peer."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, context) as process:
            layers = process.submit(prepare, folder).result()
        print(f"{'seconds: best (median)':<24} {'ckpttool':>16} {'peer':>16} {'ratio':>14} {'goal':>6}")
        for row, mine, peers, frozen, epochs, part in rows(layers):
            if wanted and row not in wanted:
                continue
            found: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for each in (mine, *(peer for peer, _ in peers)):
                    with ProcessPoolExecutor(1, context) as process:
                        seconds = process.submit(measured, each, folder, frozen, epochs).result()[part]
                        found.setdefault(each.__name__, []).extend(seconds)
            own = found[mine.__name__]
            for peer, goal in peers:
                its = found[peer.__name__]
                figures = [f"{min(each):.2f} ({statistics.median(each):.2f})" for each in (own, its)]
                best, median = min(its) / min(own), statistics.median(its) / statistics.median(own)
                ratio = f"{best:.2f} ({median:.2f})"
                print(
                    f"{row + ', ' + peer.__name__:<24} {figures[0]:>16} {figures[1]:>16} {ratio:>14} {goal:6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
