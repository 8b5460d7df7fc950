"""An epoch of fine-tuning compared with the chapter's own feed_dict loops and with Keras's `fit`, in one run.

    python benchmarks/bench_training.py [mnist.npz]

The chapter's reuse network (784-300-50-50-20-10, hidden[12] frozen), SGD 0.01, batches of 200: uncached, and on the
cached outputs of hidden2. Each contestant has its own process, so that none inherits another's TensorFlow; the figures
are medians over epochs, without the first two, and ratios to each peer.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import ckpttool

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"
EPOCHS, BATCH, VALID = 22, 200, 5000
CUT = "dnn/hidden2/Relu:0"


def prepare(folder: Path) -> None:
    """Write the network, once with every layer trainable and once with a training op that does not train hidden[12]."""
    source = ckpttool.Model.open(FIXTURES / "my_model_final.ckpt")
    ckpttool.plan_reuse(source, "hidden[123]", head=HEAD).write(folder / "new.ckpt")
    ckpttool.plan_reuse(source, "hidden[123]", head=HEAD, freeze="hidden[12]").write(folder / "frozen.ckpt")


def ours(folder: Path, data: Path, cache: bool) -> list[float]:
    options = ckpttool.Options(
        freeze="hidden[12]",
        epochs=EPOCHS,
        batch_size=BATCH,
        valid=f"first:{VALID}",
        cache=cache,
        cache_dir=folder / "cache",
    )
    ckpttool.configure_tensorflow()
    model = ckpttool.Model.open(folder / "new.ckpt")
    run = ckpttool.finetune(model, data, folder / f"tuned_{cache}.ckpt", options, overwrite=True)
    return [epoch.seconds for epoch in run.history]


def training_rows(data: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(data, allow_pickle=False) as arrays:
        x = arrays["x_train"][VALID:].reshape(-1, 784).astype(np.float32) / 255
        return x, arrays["y_train"][VALID:].astype(np.int32)


def timed(epoch: Callable[[], object]) -> list[float]:
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return seconds


def feed_dict_loop(folder: Path, data: Path, cache: bool) -> list[float]:
    """Run the chapter's loops on the same graph with its own training op."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    model, (x, y) = folder / "frozen.ckpt", training_rows(data)
    batches = len(x) // BATCH
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{model}.meta")
        saver.restore(session, str(model))
        features = session.run(CUT, {"X:0": x})
        np.save(folder / "features.npy", features)

        def uncached() -> None:
            for rows in np.array_split(np.random.permutation(len(x)), batches):
                session.run("GradientDescent", {"X:0": x[rows], "y:0": y[rows]})

        def cached() -> None:
            order = np.random.permutation(len(x))
            pairs = zip(np.array_split(features[order], batches), np.array_split(y[order], batches), strict=True)
            for hidden2, labels in pairs:
                session.run("GradientDescent", {CUT: hidden2, "y:0": labels})

        return timed(cached if cache else uncached)


def keras_fit(folder: Path, data: Path, cache: bool) -> list[float]:
    """Fit the same layers in Keras: on the features that the cached loop uses, or on the images."""
    import keras

    x, y = training_rows(data)
    rows = np.load(folder / "features.npy", allow_pickle=False) if cache else x
    units, frozen = ([50, 20], 0) if cache else ([300, 50, 50, 20], 2)
    hidden = [keras.layers.Dense(n, activation="relu", trainable=place >= frozen) for place, n in enumerate(units)]
    model = keras.Sequential([keras.Input(rows.shape[1:]), *hidden, keras.layers.Dense(10)])
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return timed(lambda: model.fit(rows, y, batch_size=BATCH, epochs=1, verbose=0))


def main(data: str = str(FIXTURES / "mnist_small.npz")) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def median(contestant: Callable[[Path, Path, bool], list[float]], cache: bool) -> float:
            with ProcessPoolExecutor(1, context) as process:
                return statistics.median(process.submit(contestant, folder, Path(data), cache).result()[2:])

        with ProcessPoolExecutor(1, context) as process:
            process.submit(prepare, folder).result()
        print(f"seconds per epoch\n{'':<28} {'ckpttool':>9} {'peer':>8} {'ratio':>6} {'goal':>5}")
        for cache, goals in ((True, (1.7, 5.0)), (False, (1.0, 1.8))):
            mine = median(ours, cache)
            for peer, goal in zip((feed_dict_loop, keras_fit), goals, strict=True):
                its, what = median(peer, cache), f"{'cached' if cache else 'uncached'}, {peer.__name__}"
                print(f"{what:<28} {mine:9.4f} {its:8.4f} {its / mine:6.2f} {goal:5.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
