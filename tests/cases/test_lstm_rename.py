"""TensorFlow 1.2 renamed the variables of cells (weights to kernel, biases to bias): old checkpoints are renamed."""

from pathlib import Path

import numpy as np

from ckpttool import checkpoint

RANDOM = np.random.default_rng(0)
SHAPES = {"lstm/basic_lstm_cell": ((12, 32), 32), "logits": ((8, 3), 3)}
VALUES = {scope: [RANDOM.normal(size=size).astype("f4") for size in sizes] for scope, sizes in SHAPES.items()}


def make(folder: Path) -> None:
    """A checkpoint with the old names, without a graph, with slots in another scope; and a graph with the new names."""
    import tensorflow as tf

    v1 = tf.compat.v1
    for old in (True, False):
        with tf.Graph().as_default(), v1.Session() as session:
            for scope, values in VALUES.items():
                names = ("weights", "biases") if old or scope == "logits" else ("kernel", "bias")
                for name, value in zip(names, values, strict=True):
                    first = value if old else np.zeros_like(value)
                    v1.get_variable(f"{scope}/{name}", initializer=first)
                    v1.get_variable(f"OptimizeLoss/{scope}/{name}/Adam", initializer=first + 1, trainable=False)
            v1.get_variable("global_step", initializer=np.int64(1000), trainable=False)
            session.run(v1.global_variables_initializer())
            name = "old.ckpt" if old else "new.ckpt"
            v1.train.Saver().save(session, str(folder / name), write_meta_graph=not old, write_state=False)


def test_the_cell_takes_its_new_names_with_its_slots(folder, run):
    import tensorflow as tf

    v1 = tf.compat.v1
    cell = "lstm/basic_lstm_cell"
    pairs = f"--rename '{cell}/weights=>{cell}/kernel' --rename '{cell}/biases=>{cell}/bias'"
    run(f"ckpttool edit old.ckpt {pairs} -o out.ckpt")
    assert set(checkpoint.open("out.ckpt")) == set(checkpoint.open("new.ckpt"))
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph("new.ckpt.meta").restore(session, "out.ckpt")
        held = {v.op.name: session.run(v) for v in v1.global_variables()}
    for scope, values in VALUES.items():
        names = ("kernel", "bias") if scope == cell else ("weights", "biases")
        for name, value in zip(names, values, strict=True):
            np.testing.assert_array_equal(held[f"{scope}/{name}"], value)
            np.testing.assert_array_equal(held[f"OptimizeLoss/{scope}/{name}/Adam"], value + 1)


def test_a_ready_set_of_one_rule_imports_it(folder, run):
    rule = "--rename 'lstm/basic_lstm_cell/weights=>lstm/basic_lstm_cell/kernel'"
    other = "--rename 'lstm/basic_lstm_cell/biases=>lstm/basic_lstm_cell/bias'"
    run(f"ckpttool import old.ckpt --into new.ckpt {rule} {other} -o out.ckpt")
    values = checkpoint.open("out.ckpt")
    np.testing.assert_array_equal(values["lstm/basic_lstm_cell/kernel"].read(), VALUES["lstm/basic_lstm_cell"][0])
