"""An epoch of fine-tuning against the chapter's own feed_dict loops and against Keras `fit`, in one run.

    python benchmarks/bench_training.py [mnist.npz]

The chapter's reuse network (784-300-50-50-20-10, hidden[12] frozen), SGD 0.01, batches of 200: uncached, and on the
cached outputs of hidden2. Figures are medians over epochs, and ratios to each peer.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ckpttool

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"
EPOCHS, BATCH, VALID = 12, 200, 5000
CUT = "dnn/hidden2/Relu:0"


def ours(model: Path, data: Path, cache: bool, folder: Path) -> float:
    options = ckpttool.Options(
        freeze="hidden[12]", epochs=EPOCHS, batch_size=BATCH, valid=VALID, cache=cache, cache_dir=folder / "cache"
    )
    run = ckpttool.finetune(ckpttool.Model.open(model), data, options, folder / f"tuned_{cache}.ckpt")
    return statistics.median(epoch.seconds for epoch in run.history[2:])


def timed(epoch: Callable[[], object]) -> float:
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def feed_dict_loops(model: Path, x: np.ndarray, y: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The loops of the chapter, on the same graph with its own training op."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{model}.meta")
        saver.restore(session, str(model))
        features = session.run(CUT, {"X:0": x})
        batches = len(x) // BATCH

        def uncached() -> None:
            for rows in np.array_split(np.random.permutation(len(x)), batches):
                session.run("GradientDescent", {"X:0": x[rows], "y:0": y[rows]})

        def cached() -> None:
            order = np.random.permutation(len(x))
            pairs = zip(np.array_split(features[order], batches), np.array_split(y[order], batches), strict=True)
            for hidden2, labels in pairs:
                session.run("GradientDescent", {CUT: hidden2, "y:0": labels})

        return timed(uncached), timed(cached), features


def keras_fit(rows: np.ndarray, y: np.ndarray, units: list[int], frozen: int) -> float:
    import keras

    hidden = [
        keras.layers.Dense(count, activation="relu", trainable=place >= frozen) for place, count in enumerate(units)
    ]
    model = keras.Sequential([keras.Input(rows.shape[1:]), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss)
    return timed(lambda: model.fit(rows, y, batch_size=BATCH, epochs=1, verbose=0))


def main(data: str = str(FIXTURES / "mnist_small.npz")) -> None:
    with np.load(data, allow_pickle=False) as arrays:
        x = arrays["x_train"][VALID:].reshape(-1, 784).astype(np.float32) / 255
        y = arrays["y_train"][VALID:].astype(np.int32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        new, model = folder / "new.ckpt", folder / "frozen.ckpt"
        source = ckpttool.Model.open(FIXTURES / "my_model_final.ckpt")
        ckpttool.plan_reuse(source, "hidden[123]", head=HEAD).write(new)
        ckpttool.plan_reuse(source, "hidden[123]", head=HEAD, freeze="hidden[12]").write(model)
        uncached, cached = (ours(new, Path(data), cache, folder) for cache in (False, True))
        loop, cached_loop, features = feed_dict_loops(model, x, y)
    fit, cached_fit = keras_fit(x, y, [300, 50, 50, 20], 2), keras_fit(features, y, [50, 20], 0)
    print(f"{len(x)} rows, seconds per epoch (median)\n{'':<28} {'ckpttool':>9} {'peer':>8} {'ratio':>6} {'goal':>5}")
    for what, mine, peer, goal in (
        ("cached, feed_dict loop", cached, cached_loop, 1.7),
        ("cached, Keras fit", cached, cached_fit, 5.0),
        ("uncached, feed_dict loop", uncached, loop, 1.0),
        ("uncached, Keras fit", uncached, fit, 1.8),
    ):
        print(f"{what:<28} {mine:9.4f} {peer:8.4f} {peer / mine:6.2f} {goal:5.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
