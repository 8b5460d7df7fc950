"""Graphs fed by tf.data: placeholders replace the iterator, in every verb that feeds rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Rows = tuple[Any, Any]


def make(folder: Path) -> None:
    """Write `oneshot.ckpt`, a trained network with a one-shot iterator, and `data.npz`, the rows of its data set."""
    x, y = _rows()
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    _save(folder, "oneshot", lambda v1, dataset: v1.data.make_one_shot_iterator(dataset.batch(16)).get_next())


def _rows() -> Rows:
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 8)).astype(np.float32)
    return x, (x @ random.normal(size=(8, 3))).argmax(1).astype(np.int32)


def _save(folder: Path, name: str, batch: Callable[[Any, Any], Rows], resource: bool = True) -> None:
    """Write a network under a name whose rows come from a data set, and its outputs for all rows."""
    import tensorflow as tf

    v1, (x, y) = tf.compat.v1, _rows()
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        X, labels = batch(v1, tf.data.Dataset.from_tensor_slices((x, y)).repeat().shuffle(50))
        with v1.variable_scope("hidden1", use_resource=resource):
            hidden = tf.nn.relu(tf.matmul(X * 1.0, v1.get_variable("kernel", [8, 6])))
        with v1.variable_scope("outputs", use_resource=resource):
            logits = tf.matmul(hidden, v1.get_variable("kernel", [6, 3]), name="logits")
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        v1.train.AdamOptimizer(0.1).minimize(tf.reduce_mean(each, name="loss"))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / f"{name}.ckpt"), write_state=False)
        hidden_kernel, kernel = session.run(v1.trainable_variables())
    np.save(folder / f"{name}.npy", np.maximum(x @ hidden_kernel, 0) @ kernel)


def _initializable(v1: Any, dataset: Any) -> Rows:
    return v1.data.make_initializable_iterator(dataset.batch(16)).get_next()  # type: ignore[no-any-return]


def _by_handle(v1: Any, dataset: Any) -> Rows:
    batches = dataset.batch(16)
    handle = v1.placeholder("string", [], "handle")
    types, shapes = v1.data.get_output_types(batches), v1.data.get_output_shapes(batches)
    return v1.data.Iterator.from_string_handle(handle, types, shapes).get_next()  # type: ignore[no-any-return]


def _whole_batches(v1: Any, dataset: Any) -> Rows:
    return v1.data.make_one_shot_iterator(dataset.batch(16, drop_remainder=True)).get_next()  # type: ignore[no-any-return]


def _train_or_test(v1: Any, dataset: Any) -> Rows:
    """Two iterators, one of which a conditional selects."""
    train, test = (v1.data.make_one_shot_iterator(dataset.batch(size)) for size in (16, 32))
    is_training = v1.placeholder_with_default(True, [], "is_training")
    return v1.cond(is_training, train.get_next, test.get_next)  # type: ignore[no-any-return]


def _as_defaults(v1: Any, dataset: Any) -> Rows:
    X, y = v1.data.make_one_shot_iterator(dataset.batch(16)).get_next()
    return v1.placeholder_with_default(X, [None, 8], "X"), v1.placeholder_with_default(y, [None], "y")


def _serialised(v1: Any, _dataset: Any) -> Rows:
    """Records that are parsed in the graph."""
    import tensorflow as tf

    def record(x: Any, y: Any) -> bytes:
        features = {
            "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[x.tobytes()])),
            "y": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(y)])),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()  # type: ignore[no-any-return]

    records = tf.data.Dataset.from_tensor_slices([record(x, y) for x, y in zip(*_rows(), strict=True)])
    texts = v1.data.make_one_shot_iterator(records.repeat().batch(16)).get_next()
    parsed = v1.parse_example(texts, {"x": v1.FixedLenFeature([], tf.string), "y": v1.FixedLenFeature([], tf.int64)})
    return tf.reshape(v1.decode_raw(parsed["x"], tf.float32), [16, 8]), parsed["y"]


def _one_by_one(v1: Any, dataset: Any) -> Rows:
    """No batches: each row becomes a batch of one."""
    import tensorflow as tf

    X, y = v1.data.make_one_shot_iterator(dataset).get_next()
    return tf.expand_dims(X, 0), tf.expand_dims(y, 0)


def test_the_iterator_need_not_be_named(folder: Path, run: Any) -> None:
    printed = run("ckpttool evaluate oneshot.ckpt --data data.npz")
    fed = "IteratorGetNext:0 [?,8] float32, IteratorGetNext_1:0 [?] int32"
    assert f"rows are fed in place of IteratorGetNext: {fed}" in printed.splitlines()
    logits, labels = np.load(folder / "oneshot.npy"), _rows()[1]
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), labels]
    assert f"60 rows: loss {loss.mean():.4f}" in printed
    run("ckpttool cache oneshot.ckpt --freeze hidden1 --data data.npz --cache-dir cache")
    run("ckpttool lr-find oneshot.ckpt --data data.npz --steps 20 --batch-size 20")
    assert "hidden1\tRelu" in run("ckpttool diagnose oneshot.ckpt --data data.npz")


def test_it_may_be_named_too(folder: Path, run: Any) -> None:
    """As the former error messages suggested."""
    sides = "--inputs IteratorGetNext:0 --labels IteratorGetNext:1"
    run(f"ckpttool finetune oneshot.ckpt {sides} --data data.npz --epochs 1 -o tuned.ckpt")
    _is_an_ordinary_model(folder / "tuned.ckpt")
    run("ckpttool finetune tuned.ckpt --data data.npz --epochs 1 -o again.ckpt")
    run("ckpttool finetune tuned.ckpt --train-op GradientDescent --data data.npz --epochs 1 -o own.ckpt")


def test_stripped_it_can_be_trained(folder: Path, run: Any) -> None:
    sides = "--inputs X=IteratorGetNext:0,y=IteratorGetNext:1 --outputs loss=loss:0,logits=outputs/logits:0"
    assert "inputs: X=X:0, y=y:0" in run(f"ckpttool strip oneshot.ckpt {sides} -o small.ckpt")
    run("ckpttool finetune small.ckpt --data data.npz --epochs 1 -o tuned.ckpt")
    x = _rows()[0]
    expected = np.load(folder / "oneshot.npy")
    for fed in ("X:0", "IteratorGetNext:0"):  # its own name, and the one that programs use
        assert np.allclose(_computed(folder / "small.ckpt", {fed: x}), expected, atol=1e-5)


@pytest.mark.parametrize("head", ["", "--head 'more = dense(5, relu); out = dense(3)'"])
def test_reused_it_can_be_trained(folder: Path, run: Any, head: str) -> None:
    assert "rows are fed in place of" in run(f"ckpttool reuse oneshot.ckpt --layers hidden1 {head} -o new.ckpt")
    _is_an_ordinary_model(folder / "new.ckpt")
    run("ckpttool finetune new.ckpt --data data.npz --epochs 1 -o tuned.ckpt")


@pytest.mark.parametrize(
    "batch", [_initializable, _by_handle, _whole_batches, _train_or_test, _as_defaults, _serialised, _one_by_one]
)
@pytest.mark.parametrize("resource", [True, False])
def test_however_the_rows_come(folder: Path, run: Any, batch: Any, resource: bool) -> None:
    _save(folder, "model", batch, resource)
    run("ckpttool predict model.ckpt --data data.npz -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("model.npy"), atol=1e-5)
    if resource:
        run("ckpttool fold model.ckpt -o model.pb")
        run("ckpttool predict model.pb --data data.npz -o folded.npz --tensor outputs/logits")
        assert np.allclose(np.load("folded.npz")["outputs"], np.load("model.npy"), atol=1e-5)


def test_several_inputs_by_name(folder: Path, run: Any) -> None:
    import tensorflow as tf

    def batch(v1: Any, dataset: Any) -> Rows:
        nested = dataset.map(lambda x, y: ({"left": x[:3], "right": x[3:]}, y)).batch(16)
        features, labels = v1.data.make_one_shot_iterator(nested).get_next()
        return tf.concat([features["left"], features["right"]], 1), labels

    _save(folder, "model", batch)
    x, y = _rows()
    np.savez("parts.npz", left_train=x[:, :3], right_train=x[:, 3:], y_train=y)
    sides = "--inputs left=IteratorGetNext:0 --inputs right=IteratorGetNext:1"
    run(f"ckpttool predict model.ckpt {sides} --data parts.npz --split train -o p.npz")
    assert np.allclose(np.load("p.npz")["logits"], np.load("model.npy"), atol=1e-5)
    run(f"ckpttool finetune model.ckpt {sides} --data parts.npz --epochs 1 -o tuned.ckpt")
    run("ckpttool evaluate tuned.ckpt --data parts.npz --split train")


def _computed(model: Path, feed: dict[str, Any]) -> Any:
    """Return the logits of a plain TensorFlow program."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{model}.meta").restore(session, str(model))
        return session.run("outputs/logits:0", feed)


def _is_an_ordinary_model(model: Path) -> None:
    """Check that a plain TensorFlow program restores a model, which is fed only through placeholders."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.train.import_meta_graph(f"{model}.meta").restore(session, str(model))
        fed = {op.name for op in graph.get_operations() if op.type == "Placeholder"}
        assert "IteratorGetNext" in fed
        assert graph.get_operation_by_name("IteratorGetNext").type == "Placeholder"
