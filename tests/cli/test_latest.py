"""`latest`: the prefix that TensorFlow would select, and the checkpoints that exist if none is recorded."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with checkpoints of three steps, not written in the order of their names."""
    for number, name in enumerate(("model-9", "model-10", "cp-0002.ckpt", "best")):
        checkpoint.save({"w": np.zeros(2, np.float32)}, tmp_path / name)
        os.utime(tmp_path / f"{name}.index", (1_600_000_000 + number, 1_600_000_000 + number))
    return tmp_path


def test_it_is_tensorflows(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    manager = tf.train.CheckpointManager(tf.train.Checkpoint(w=tf.Variable(1.0)), str(tmp_path), max_to_keep=2)
    for _ in range(3):
        manager.save()
    assert shell.lines("latest", tmp_path) == [tf.train.latest_checkpoint(str(tmp_path))]
    assert [row["step"] for row in shell.json("latest", tmp_path, "--all")] == [2, 3]
    assert shell.json("latest", tmp_path) == {"prefix": str(tmp_path / "ckpt-3")}
    shell.run("verify", shell.lines("latest", tmp_path)[0])


def test_without_a_note_it_is_the_one_of_most_steps(shell: Any, run: Path) -> None:
    result = shell.run("latest", run)
    assert result.stdout == f"{run}/model-10\n"
    assert result.stderr == f"{run}/checkpoint is missing; model-10 is the checkpoint with the most steps\n"


def test_all_are_listed_by_step(shell: Any, run: Path) -> None:
    (run / "checkpoint").write_text('model_checkpoint_path: "model-9"\n')
    assert shell.lines("latest", run, "--all") == [
        f"{run}/best\t\t2020-09-13 12:26:43+00:00\tno",
        f"{run}/cp-0002.ckpt\t2\t2020-09-13 12:26:42+00:00\tno",
        f"{run}/model-9\t9\t2020-09-13 12:26:40+00:00\tyes",
        f"{run}/model-10\t10\t2020-09-13 12:26:41+00:00\tno",
    ]


def test_a_note_of_what_is_gone_is_said(shell: Any, run: Path) -> None:
    (run / "checkpoint").write_text('model_checkpoint_path: "model-11"\n')
    result = shell.run("latest", run)
    assert result.stdout == f"{run}/model-10\n"
    assert result.stderr == (
        f"{run}/checkpoint refers to {run}/model-11, which is missing; model-10 is the checkpoint with the most steps\n"
    )


def test_a_folder_that_was_moved(shell: Any, run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (run / "checkpoint").write_text(f'model_checkpoint_path: "{run}/model-9"\n')
    moved = tmp_path_factory.mktemp("moved") / "run"
    shutil.move(run, moved)
    assert shell.lines("latest", moved) == [f"{moved}/model-9"]


def test_none_at_all(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert shell.error("latest", tmp_path / "empty") == (
        f"{tmp_path}/empty is a folder without a checkpoint: no .index is in it"
    )
    (tmp_path / "run").mkdir()
    checkpoint.save({"w": np.zeros(2)}, tmp_path / "run" / "model-1")
    assert shell.error("latest", tmp_path).endswith("no .index is in it; look in run")
    assert shell.error("latest", tmp_path / "none") == f"{tmp_path}/none: no such folder"
    index = tmp_path / "run" / "model-1.index"
    assert shell.error("latest", index) == f"{index}: not a folder"
    (tmp_path / "empty" / "checkpoint").write_text('model_checkpoint_path: "../../x"\n')
    assert "outside of its folder" in shell.error("latest", tmp_path / "empty")
