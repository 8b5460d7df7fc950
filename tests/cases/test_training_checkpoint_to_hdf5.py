"""A training checkpoint has a variable `fc/kernel` and its slot `fc/kernel/Momentum`: in HDF5 a dataset and a group."""

from pathlib import Path

import h5py
import numpy as np
import pytest


def make(folder: Path) -> None:
    """A checkpoint of TensorFlow 1 with an optimizer's slots and a step counter."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        kernel = v1.get_variable("fc/kernel", initializer=np.ones((2, 3), "f4"))
        step = v1.train.get_or_create_global_step()
        train = v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(kernel**2), global_step=step)
        session.run(v1.global_variables_initializer())
        session.run(train)
        v1.train.Saver().save(session, str(folder / "model.ckpt"), write_state=False)


@pytest.mark.parametrize(
    "command", ["convert model.ckpt", "average model.ckpt model.ckpt", "edit model.ckpt --keep fc"]
)
def test_names_are_written_as_tensorflow_writes_them_and_read_back(folder, run, command):
    import tensorflow as tf

    run(f"ckpttool {command} -o model.h5")
    run("ckpttool convert model.h5 -o back.ckpt")
    reader, back = tf.train.load_checkpoint("model.ckpt"), tf.train.load_checkpoint("back.ckpt")
    shapes = reader.get_variable_to_shape_map()
    assert back.get_variable_to_shape_map() == {
        name: shapes[name] for name in shapes if "keep" not in command or "fc" in name
    }
    with h5py.File("model.h5") as file:
        for name in back.get_variable_to_shape_map():
            np.testing.assert_array_equal(file[f"{name}:0"][()], reader.get_tensor(name))
            np.testing.assert_array_equal(back.get_tensor(name), reader.get_tensor(name))


def test_without_slots_names_are_paths_as_before(folder, run):
    run("ckpttool edit model.ckpt --drop-slots -o model.h5")
    with h5py.File("model.h5") as file:
        assert file["fc/kernel"].shape == (2, 3)
