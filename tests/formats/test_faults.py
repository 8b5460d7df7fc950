"""A model replaces another one with a fault at every file-system call: afterwards the old or the new one is whole.

`trust/kills.py` does the same with every command and every kind of fault.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.formats.writing.temporary import PROC
from ckpttool.graph import files
from ckpttool.model.model import write_model

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "trust"))

from faults import Faults, in_child  # noqa: E402

FIXTURE = ROOT / "fixtures" / "bundles" / "adam.ckpt-3"


def write(value: float, key: str) -> None:
    """Write the fixture's graph, marked by a collection, with variables of one value."""
    graph = files.load(FIXTURE)
    graph.meta.collection_def["mark"].node_list.value.append(key)
    tensors = checkpoint.open(FIXTURE)
    values = {name: np.full(tensor.shape, value, tensor.dtype.numpy) for name, tensor in tensors.items()}
    write_model(graph, checkpoint.Checkpoint.of(values, tensors.provenance), "x.ckpt", True)


def state() -> tuple[str, float, int]:
    """Return the content of a model under the prefix: its mark, its values, the number of its lineage's records."""
    opened = checkpoint.open("x.ckpt")
    values = {float(value) for tensor in opened.values() for value in np.unique(tensor.read())}
    marks = [str(mark) for mark in files.load("x.ckpt").collection("mark")]
    chain = opened.provenance.files[0].chain
    assert len(values) == len(marks) == len(chain.records) == 1
    return marks[0], values.pop(), len(chain.records)


@pytest.mark.skipif(not PROC.is_dir(), reason="without /proc nobody knows that a process has ended")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(("kind", "number"), [("kill", 0), ("EIO", 1)])
def test_a_fault_at_any_call_leaves_one_of_both_and_the_next_run_leaves_nothing_else(
    tmp_path, monkeypatch, kind, number
):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # kills do not affect what is on the disk
    met = True
    while met:
        number += 7  # a seventh of the calls here, all of them in `trust/kills.py`
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        write(1, "old")

        def broken(number: int = number) -> int:
            with Faults(number, kind).active() as faults:
                try:
                    write(2, "new")
                except OSError:
                    return 1
                return 1 if faults.met else 0

        met = in_child(broken) != 0
        assert state() in (("old", 1.0, 1), ("new", 2.0, 1)), number
        write(3, "next")
        assert state() == ("next", 3.0, 1)
        names = {path.name for path in Path().iterdir()}
        shards = {name for name in names if ".data-" in name}
        assert names - shards == {"x.ckpt.index", "x.ckpt.meta", "x.ckpt.lineage.json"}
        assert len({name[-5:] for name in shards}) == 1
    assert number > 40
