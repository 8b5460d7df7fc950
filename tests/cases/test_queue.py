"""Graphs that read files through queues, which fix the batch size: it is removed with the queue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Rows = tuple[Any, Any]


def make(folder: Path) -> None:
    """Write `model.ckpt`, whose batches of 16 are dequeued from shuffled records, and `data.npz`."""
    x, y = _rows()
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _save(folder, "model", _shuffled)


def _rows() -> Rows:
    random = np.random.default_rng(0)
    x, y = random.random((60, 4, 4, 1)).astype(np.float32), np.arange(60, dtype=np.int32) % 3
    x[np.arange(60), y] += 1
    return x, y


def _save(folder: Path, name: str, batch: Callable[[Any], Rows]) -> None:
    """Write a network under a name, and its outputs for all rows."""
    import tensorflow as tf

    v1, (x, _) = tf.compat.v1, _rows()
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        with v1.name_scope("input"):
            images, labels = batch(v1)
        kernels = [v1.get_variable(f"{name}/kernel", shape, use_resource=False) for name, shape in _LAYERS.items()]

        def network(rows: Any, size: int) -> Any:
            hidden = tf.nn.relu(tf.nn.conv2d(rows, kernels[0], 2, "SAME"))
            flat = tf.reshape(hidden, [size, -1])
            return tf.reshape(tf.matmul(tf.nn.relu(tf.matmul(flat, kernels[1])), kernels[2]), [size, 3])

        logits = tf.identity(network(images, 16), name="logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.divide(tf.reduce_sum(losses), 16.0, name="loss")
        v1.train.AdamOptimizer(0.01).minimize(loss, global_step=v1.train.get_or_create_global_step())
        session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
        saver = v1.train.Saver()
        saver.save(session, str(folder / f"{name}.ckpt"), write_state=False)
        np.save(folder / f"{name}.npy", session.run(network(tf.constant(x), 60)))


_LAYERS = {"conv1": [3, 3, 1, 4], "fc1": [16, 8], "fc2": [8, 3]}


def _row(v1: Any) -> Rows:
    """Return a row from a queue of records, whose files no longer exist."""
    import tensorflow as tf

    names = v1.train.string_input_producer(["gone-0.tfrecord", "gone-1.tfrecord"], num_epochs=20)
    features = {"image": v1.FixedLenFeature([], tf.string), "label": v1.FixedLenFeature([], tf.int64)}
    parsed = v1.parse_single_example(v1.TFRecordReader().read(names)[1], features)
    return tf.reshape(v1.decode_raw(parsed["image"], tf.float32), [4, 4, 1]), tf.cast(parsed["label"], tf.int32)


def _shuffled(v1: Any) -> Rows:
    return v1.train.shuffle_batch([*_row(v1)], 16, 100, 50)  # type: ignore[no-any-return]


def _in_order(v1: Any) -> Rows:
    return v1.train.batch([*_row(v1)], 16, allow_smaller_final_batch=True)  # type: ignore[no-any-return]


def _prefetched(v1: Any) -> Rows:
    """A queue of whole batches, as in slim."""
    images, labels = _shuffled(v1)
    queue = v1.FIFOQueue(4, ["float32", "int32"], [[16, 4, 4, 1], [16]])
    v1.train.add_queue_runner(v1.train.QueueRunner(queue, [queue.enqueue([images, labels])]))
    return queue.dequeue()  # type: ignore[no-any-return]


def test_the_queue_need_not_be_named(folder: Path, run: Any) -> None:
    printed = run("ckpttool evaluate model.ckpt --data data.npz")
    said = "any number of rows at a time, where the graph was built for 16 rows"
    fed = "input/shuffle_batch:0 [?,4,4,1] float32, input/shuffle_batch_1:0 [?] int32"
    place = "input/shuffle_batch (QueueDequeueManyV2)"
    assert f"rows are fed in place of {place}: {fed}; {said}" in printed.splitlines()
    logits, labels = np.load("model.npy"), _rows()[1]
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), labels]
    assert f"60 rows: loss {loss.mean():.4f}" in printed  # a sum of losses is divided by the number of rows


def test_the_size_of_its_batch_does_not_stay(folder: Path, run: Any) -> None:
    run("ckpttool strip model.ckpt --inputs images=input/shuffle_batch:0 --outputs logits -o small.ckpt")
    head = "--layers 'conv1|fc1' --head 'out = dense(3)'"
    run(f"ckpttool reuse small.ckpt {head} -o head.ckpt")
    run("ckpttool finetune head.ckpt --data data.npz --epochs 1 --batch-size 16 -o tuned.ckpt")
    run(f"ckpttool reuse model.ckpt {head} -o direct.ckpt")
    run("ckpttool finetune direct.ckpt --data data.npz --epochs 1 --batch-size 25 -o tuned_too.ckpt")
    assert np.allclose(_computed(folder / "small.ckpt", "images:0"), np.load("model.npy"), atol=1e-5)


def test_the_graphs_own_training_op_knows_no_other(folder: Path, run: Any) -> None:
    training = "ckpttool finetune model.ckpt --data data.npz --epochs 1 -o tuned.ckpt"
    printed = run(f"{training} --train-op Adam", exit_code=2)
    assert "takes batches of 16, and" in printed
    assert "so do the gradients of the training op: leave --train-op out, for an --optimizer" in printed
    run(f"{training} --optimizer adam")


@pytest.mark.parametrize("batch", [_in_order, _prefetched])
def test_however_the_rows_are_queued(folder: Path, run: Any, batch: Any) -> None:
    _save(folder, "other", batch)
    run("ckpttool predict other.ckpt --data data.npz -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("other.npy"), atol=1e-5)
    run("ckpttool finetune other.ckpt --data data.npz --epochs 1 --batch-size 20 -o tuned.ckpt")
    run("ckpttool evaluate tuned.ckpt --data data.npz")


def _computed(model: Path, fed: str) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{model}.meta").restore(session, str(model))
        return session.run("logits:0", {fed: _rows()[0]})
