"""A run's folder, copied from a bucket or from Windows: its `checkpoint` file contains the former location."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def make(folder: Path) -> None:
    """Write a folder `run` with two checkpoints, whose state file has the path of one of them in a bucket."""
    import tensorflow as tf

    v1 = tf.compat.v1
    (folder / "run").mkdir()
    with tf.Graph().as_default(), v1.Session() as session:
        X = v1.placeholder("float32", [None, 2], "X")
        tf.matmul(X, v1.get_variable("out/kernel", [2, 3]), name="logits")
        session.run(v1.global_variables_initializer())
        for step in (100, 200):
            v1.train.Saver().save(session, str(folder / "run" / "model.ckpt"), step, write_state=False)
    _note(folder, "gs://bucket/run/model.ckpt-100")


def _note(folder: Path, stored: str) -> None:
    (folder / "run" / "checkpoint").write_text(f'model_checkpoint_path: "{stored}"\n')


@pytest.mark.parametrize(
    "stored",
    [
        "gs://bucket/run/model.ckpt-100",
        "hdfs://host:9000/run/model.ckpt-100",
        r"C:\\Users\\me\\run\\model.ckpt-100",
        "D:/run/model.ckpt-100",
        r"\\\\server\\run\\model.ckpt-100",
        r"run\\model.ckpt-100",
        "/home/me/run/model.ckpt-100",
        "logs/run/model.ckpt-100",
    ],
)
def test_the_checkpoint_of_that_name_is_taken(folder: Path, run: Any, stored: str) -> None:
    _note(folder, stored)
    assert run("ckpttool latest run") == "run/model.ckpt-100\n"
    assert "out" in run("ckpttool layers run")
    assert [line.split("\t")[0] for line in run("ckpttool latest run --all").splitlines() if line.endswith("yes")] == [
        "run/model.ckpt-100"
    ]


@pytest.mark.parametrize("stored", ["gs://bucket/run/model.ckpt-300", "/home/me/run/model.ckpt-300"])
def test_one_that_was_not_copied_is_named(folder: Path, run: Any, stored: str) -> None:
    _note(folder, stored)
    printed = run("ckpttool latest run")
    missing = f"run/checkpoint refers to {stored}, but run has no model.ckpt-300"
    assert printed == f"{missing}; model.ckpt-200 is the checkpoint with the most steps\nrun/model.ckpt-200\n"
    assert missing in run("ckpttool layers run", exit_code=2)


def test_files_of_version_1_have_no_index(folder: Path, run: Any) -> None:
    """Until 2017, Savers wrote one file per checkpoint, or several for a sharded one."""
    import tensorflow as tf

    v1 = tf.compat.v1
    (folder / "old").mkdir()
    for sharded in (False, True):
        with tf.Graph().as_default(), v1.Session() as session:
            weights = v1.get_variable("w", initializer=np.arange(4, dtype=np.float32))
            session.run(weights.initializer)
            saver = v1.train.Saver(write_version=v1.train.SaverDef.V1, sharded=sharded)
            saver.save(session, str(folder / "old" / "model.ckpt"), 20 if sharded else 10)
    rows = [line.split("\t") for line in run("ckpttool latest old --all").splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("old/model.ckpt-10", "10", "no"),
        ("old/model.ckpt-20", "20", "yes"),
    ]
    assert run("ckpttool latest old") == "old/model.ckpt-20\n"
    assert "w\t[4]\tfloat32" in run("ckpttool vars old/model.ckpt-20")
