"""A recurrent classifier with TensorFlow 1's while loop, trained through the loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

Run = Callable[..., str]
ROWS = np.random.default_rng(0).normal(size=(60, 5, 3)).astype(np.float32)
LENGTHS = np.random.default_rng(1).integers(2, 6, 60).astype(np.int32)


@contextmanager
def old_control_flow() -> Iterator[None]:
    """Use TensorFlow 1's ops for conditionals and loops, and restore the setting afterwards."""
    import tensorflow as tf

    was = tf.compat.v1.control_flow_v2_enabled()
    tf.compat.v1.disable_control_flow_v2()
    try:
        yield
    finally:
        if was:
            tf.compat.v1.enable_control_flow_v2()


def make(folder: Path) -> None:
    import tensorflow as tf

    v1, labels = tf.compat.v1, (ROWS.sum((1, 2)) > 0).astype(np.int32)
    np.savez(folder / "data.npz", X=ROWS, lengths=LENGTHS, y=labels)
    with tf.Graph().as_default(), v1.Session() as session, old_control_flow():
        v1.set_random_seed(1)
        inputs, lengths = v1.placeholder(tf.float32, [None, 5, 3], "X"), v1.placeholder(tf.int32, [None], "lengths")
        y = v1.placeholder(tf.int32, [None], "y")
        kernel, steps = (
            v1.get_variable("rnn/cell/kernel", [3 + 4, 4], use_resource=False),
            tf.transpose(inputs, [1, 0, 2]),
        )

        def body(step, state):  # type: ignore[no-untyped-def]
            new = tf.tanh(tf.matmul(tf.concat([steps[step], state], 1), kernel))
            return step + 1, tf.where(tf.tile((step < lengths)[:, None], [1, 4]), new, state)

        first = [tf.constant(0), tf.zeros([tf.shape(inputs)[0], 4])]
        shapes = [tf.TensorShape([]), tf.TensorShape([None, 4])]
        _, state = v1.while_loop(lambda step, state: step < 5, body, first, shape_invariants=shapes)
        logits = tf.matmul(state, v1.get_variable("outputs/kernel", [4, 2], use_resource=False), name="logits")
        compared = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        train = v1.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(compared, name="loss"))
        session.run(v1.global_variables_initializer())
        session.run(train, {inputs: ROWS, lengths: LENGTHS, y: labels})
        v1.train.Saver().save(session, str(folder / "rnn.ckpt"), write_state=False)
        np.save(folder / "expected.npy", session.run(logits, {inputs: ROWS, lengths: LENGTHS}))


def test_the_loop_computes_and_trains_as_in_a_session(folder: Path, run: Run) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    run("ckpttool fold rnn.ckpt -o frozen.pb")
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(Path("frozen.pb").read_bytes()), name="")
        found = session.run("logits:0", {"X:0": ROWS, "lengths:0": LENGTHS})
    np.testing.assert_allclose(found, np.load("expected.npy"), rtol=1e-6, atol=1e-7)
    run("ckpttool finetune rnn.ckpt --data data.npz --valid first:12 --epochs 1 -o tuned.ckpt")
    run("ckpttool finetune rnn.ckpt --data data.npz --freeze rnn/cell --cache --epochs 1 -o top.ckpt")
