"""The plan of a checkpoint: whether the graph next to its source is written, and errors before it is shown."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import ExistingOutput
from ckpttool.graph import files
from ckpttool.model.checkpoint_plan import CheckpointPlan, graph_alongside


def test_a_graph_goes_along_with_all_of_its_variables(small: Path, tmp_path: Path) -> None:
    tensors = checkpoint.open(small)
    graph, notes = graph_alongside(tensors, "bundle")
    assert graph is not None
    assert notes == []
    plan = CheckpointPlan(tensors, "bundle", graph=graph)
    assert plan.write(tmp_path / "copy.ckpt") == []
    assert plan.done.endswith(f"with the graph of {small}.meta")
    assert files.load(tmp_path / "copy.ckpt").meta == graph.meta
    assert set(checkpoint.open(tmp_path / "copy.ckpt")) == set(tensors)


def test_a_graph_that_stays_behind_is_said_with_the_reason(small: Path) -> None:
    tensors = checkpoint.open(small)
    behind = f"the graph of {small} is not written"
    assert graph_alongside(tensors, "npz") == (None, [f"{behind}: the output is a checkpoint without a graph"])
    some = tensors.drop("outputs/kernel")
    assert graph_alongside(some, "bundle") == (None, [f"{behind}: the output lacks its outputs/kernel"])
    assert graph_alongside(Checkpoint.of({"w": np.zeros(2)}), "bundle") == (None, [])


def test_an_output_that_exists_is_refused_before_anything_is_shown(small: Path, tmp_path: Path) -> None:
    for part in small.parent.glob(f"{small.name}.*"):
        shutil.copy(part, tmp_path)
    (tmp_path / "x.npz").touch()
    tensors = checkpoint.open(small)
    for to, output in (("bundle", tmp_path / small.name), ("npz", tmp_path / "x.npz")):
        plan = CheckpointPlan(tensors, to)
        with pytest.raises(ExistingOutput, match="exists already; `overwrite` replaces it"):
            plan.check(output)
        plan.check(output, overwrite=True)


def test_every_file_of_an_output_reaches_the_disk_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino) or sync(file))
    tensors = Checkpoint.of({"embedding": np.zeros((2, 3), np.float32)})
    CheckpointPlan(tensors, "npz", vocabulary={"a": 0, "b": 1}).write(tmp_path / "x.npz")

    written = {each.name: each.stat().st_ino for each in tmp_path.iterdir()}
    assert written.keys() == {"x.npz", "x.npz.vocab.json"}
    assert set(written.values()) <= set(synced)
