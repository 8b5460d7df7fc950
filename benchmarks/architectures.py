"""Architectures of keras.applications through the main workflow and back to `.keras`, with results equal to Keras's.

    python benchmarks/architectures.py [NAME ...]

One line for each step: the largest difference to Keras's result, divided by its largest number, and the seconds.
Weights are random, images small. It fails if a difference is more than a hundred-thousandth.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool
from ckpttool.runtime.configure import configure_tensorflow, keras

ARCHITECTURES = {
    "ResNet50": "residual",
    "MobileNetV2": "depthwise",
    "DenseNet121": "concatenation",
    "EfficientNetB0": "normalisation inside of the model",
    "ConvNeXtTiny": "built like a vision transformer",
}
SIDE, CLASSES = 64, 5
MOST = 1e-5


def main(names: list[str]) -> None:
    """Run the architectures and print a line for each step."""
    configure_tensorflow(convolutions=True)
    print(f"{'architecture':16} {'step':9} {'difference':>10} {'seconds':>8}")
    worst = 0.0
    for name in names or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            worst = max(worst, run(name, Path(folder)))
    if worst > MOST:
        sys.exit(f"a difference of {worst:.1e}, expected at most {MOST:.0e}")


def run(name: str, folder: Path) -> float:
    """Run one architecture; return the largest difference."""
    network = random_network(name)
    rows = rows_for(folder)
    images = np.load(rows)["x_test"].astype("float32")
    network.save(folder / "net.keras")
    last = below_the_top(network)
    features = keras().Model(network.input, network.get_layer(last).output)
    open_model, scores = ckpttool.Model.open, folder / "scores.npz"

    def opened() -> float:
        return difference(outputs(folder / "net.keras", rows, scores), network(images, training=False))

    def reused() -> float:
        plan = ckpttool.plan_reuse(
            open_model(folder / "net.keras"), ".*", head=f"scores = dense({CLASSES})", after=last
        )
        plan.write(folder / "reused.keras")
        loaded = keras().models.load_model(folder / "reused.keras")
        return difference(outputs(folder / "reused.keras", rows, scores), loaded(images, training=False))

    def frozen() -> float:
        ckpttool.plan_freeze(open_model(folder / "reused.keras"), "(?!scores).*").write(folder / "frozen.keras")
        loaded = keras().models.load_model(folder / "frozen.keras")
        assert [weight.path for weight in loaded.trainable_weights] == ["scores/kernel", "scores/bias"]
        return difference(outputs(folder / "frozen.keras", rows, scores), loaded(images, training=False))

    def cached() -> float:
        found = ckpttool.cache(open_model(folder / "reused.keras"), rows, "(?!scores).*", root=folder / "cache")
        (array,) = found.arrays.values()
        trained = np.load(rows)["x_train"].astype("float32")
        return difference(np.asarray(array[: len(trained)]), features(trained, training=False))

    def tuned() -> float:
        options = ckpttool.Options(
            freeze="(?!scores).*", cache=True, cache_dir=folder / "cache", epochs=1, recipe=ckpttool.Recipe(lr="0.01")
        )
        ckpttool.finetune(open_model(folder / "reused.keras"), rows, folder / "tuned.keras", options)
        loaded = keras().models.load_model(folder / "tuned.keras")
        return difference(outputs(folder / "tuned.keras", rows, scores), loaded(images, training=False))

    steps: list[Callable[[], float]] = [opened, reused, frozen, cached, tuned]
    return max(measured(name, step) for step in steps)


def measured(name: str, step: Callable[[], float]) -> float:
    """Run a step and print its line."""
    start = time.perf_counter()
    found = step()
    print(f"{name:16} {step.__name__:9} {found:10.1e} {time.perf_counter() - start:8.1f}", flush=True)
    return found


def random_network(name: str) -> Any:
    """Return an architecture with random weights, including its moving averages."""
    keras().utils.set_random_seed(1)
    network = getattr(keras().applications, name)(weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES)
    random = np.random.default_rng(2)
    for weight in network.weights:
        if weight.name == "moving_variance":
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name == "moving_mean":
            weight.assign(random.normal(0, 0.1, weight.shape))
    return network


def below_the_top(network: Any) -> str:
    """Return the name of the layer whose output is the input of the last dense layer."""
    dense = next(layer for layer in reversed(network.layers) if isinstance(layer, keras().layers.Dense))
    return str(dense.input._keras_history.operation.name)


def rows_for(folder: Path) -> Path:
    """Return a file of a few images with labels."""
    random, arrays = np.random.default_rng(3), dict[str, Any]()
    for split, count in (("train", 40), ("valid", 10), ("test", 8)):
        arrays[f"x_{split}"] = random.uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32")
        arrays[f"y_{split}"] = (np.arange(count) % CLASSES).astype("int64")
    np.savez(folder / "rows.npz", **arrays)
    return folder / "rows.npz"


def outputs(path: Path, rows: Path, target: Path) -> Any:
    """Return a model's outputs for the test images."""
    ckpttool.predict(ckpttool.Model.open(path), rows, target, overwrite=True)
    with np.load(target) as arrays:
        return next(arrays[key] for key in ("outputs", "probabilities", "logits") if key in arrays)


def difference(found: Any, expected: Any) -> float:
    """Return the largest difference of two arrays, divided by the largest number."""
    expected = np.asarray(expected)
    return float(np.abs(np.asarray(found) - expected).max() / max(np.abs(expected).max(), 1e-30))


if __name__ == "__main__":
    main(sys.argv[1:])
