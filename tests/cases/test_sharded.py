"""A checkpoint in several files, as written by `Saver(sharded=True)` with several devices."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

import ckpttool


def make(folder: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"CPU": 2})) as session:
        for device in range(2):
            with tf.device(f"/cpu:{device}"):
                v1.get_variable(f"hidden{device}/kernel", [4, 3], initializer=v1.constant_initializer(device + 1.0))
        session.run(v1.global_variables_initializer())
        v1.train.Saver(sharded=True).save(session, str(folder / "model.ckpt"))


def test_one_file_holds_what_several_held(folder: Path, run: Callable[[str], str]) -> None:
    assert len(list(folder.glob("model.ckpt.data-*"))) == 2
    run("ckpttool edit model.ckpt -o whole.ckpt")
    assert len(list(folder.glob("whole.ckpt.data-*"))) == 1
    whole = ckpttool.open(folder / "whole.ckpt")
    assert {name: whole[name].read().tolist() for name in whole} == {
        f"hidden{device}/kernel": np.full((4, 3), device + 1.0).tolist() for device in range(2)
    }
