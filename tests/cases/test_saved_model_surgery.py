"""Some weights of one SavedModel are put into another; other formats lose the object graph, which is reported."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.variable_kinds import OBJECT_GRAPH


def make(folder: Path) -> None:
    """Two SavedModels of one network, `m1` and `m2`, and a training checkpoint with a slot, `run.ckpt`."""
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            random = np.random.default_rng(seed)
            self.body = tf.Variable(random.standard_normal((3, 4)).astype("f4"), name="body/kernel")
            self.head = tf.Variable(random.standard_normal((4, 2)).astype("f4"), name="head/kernel")

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(x @ self.body) @ self.head

    for seed in (1, 2):
        net = Net(seed)
        tf.saved_model.save(net, str(folder / f"m{seed}"), signatures={"serving_default": net.__call__})
    state = tf.Variable(net.body, name="body/kernel/m", trainable=False)
    tf.train.Checkpoint(model=net, slots=[state], step=tf.Variable(7, name="step")).write(str(folder / "run.ckpt"))


def loaded(path: str) -> dict[str, np.ndarray]:
    """What TensorFlow loads from a SavedModel."""
    import tensorflow as tf

    model = tf.saved_model.load(path)
    return {"body/kernel": model.body.numpy(), "head/kernel": model.head.numpy()}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5"])
@pytest.mark.parametrize(
    "command", ["convert m1", "average m1 m1", "edit m1 --cast float32", "merge m1 m1 --how linear"]
)
def test_other_formats_get_the_weights_and_the_object_graph_is_said_to_be_left_out(folder, run, suffix, command):
    said = run(f"ckpttool {command} -o out{suffix}")
    assert said.count(OBJECT_GRAPH) == 1
    values = checkpoint.open(f"out{suffix}")
    assert set(values) == {"body/kernel", "head/kernel"}
    for name, value in loaded("m1").items():
        np.testing.assert_array_equal(values[name].read(), value)


def test_slots_and_steps_of_a_training_checkpoint_come_along(folder, run):
    run("ckpttool convert run.ckpt -o all.npz")
    names = {"body/kernel", "head/kernel", "body/kernel/m", "step"}
    assert names <= set(checkpoint.open("all.npz"))
    assert OBJECT_GRAPH not in checkpoint.open("all.npz")


def test_formats_of_tensorflow_keep_the_object_graph_unless_it_is_dropped(folder, run):
    run("ckpttool average m1 m2 -o kept.ckpt")
    assert checkpoint.open("kept.ckpt").format == "object"
    run(f"ckpttool edit m1 --drop {OBJECT_GRAPH} -o bare.ckpt")
    assert checkpoint.open("bare.ckpt").format == "bundle"
    assert set(checkpoint.open("bare.ckpt")) == {"body/kernel", "head/kernel"}
    run(f"ckpttool edit m1 --drop 'head/kernel|{OBJECT_GRAPH}' -o less.ckpt")
    assert list(checkpoint.open("less.ckpt")) == ["body/kernel"]


def test_a_library_call_saves_it_in_any_format_too(folder):
    checkpoint.save(checkpoint.open("m1"), "out.safetensors")
    assert set(checkpoint.open("out.safetensors")) == {"body/kernel", "head/kernel"}


def test_the_body_of_one_goes_into_a_copy_of_the_other(folder, run):
    run("ckpttool edit m1 --keep body -o body.ckpt")
    run("ckpttool merge body.ckpt m2 --prefer first -o both.ckpt")
    run("ckpttool convert both.ckpt --to saved-model --like m2 -o m3")
    first, second, third = loaded("m1"), loaded("m2"), loaded("m3")
    np.testing.assert_array_equal(third["body/kernel"], first["body/kernel"])
    np.testing.assert_array_equal(third["head/kernel"], second["head/kernel"])
