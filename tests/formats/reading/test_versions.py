"""Results for a file are not reused for another one written in its place, even within the clock's resolution."""

import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.formats.hdf5 import tree
from ckpttool.formats.hdf5.tree import read_tree
from ckpttool.formats.reading import versions
from ckpttool.formats.reading.versions import version_of
from ckpttool.formats.tensorflow.frozen_graph import FrozenGraph
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef
from ckpttool.remote import sparse_files


def rewritten(path: Path, data: bytes, time_ns: int) -> None:
    """Write other bytes to a file, with its former time."""
    path.write_bytes(data)
    os.utime(path, ns=(time_ns, time_ns))


def hdf5_bytes(path: Path, name: str) -> bytes:
    with h5py.File(path, "w") as file:
        file[name] = np.arange(4.0)
    return path.read_bytes()


def graph_bytes(name: str) -> bytes:
    graph = GraphDef()
    constant = graph.node.add(name=name, op="Const")
    constant.attr["dtype"].type = constant.attr["value"].tensor.dtype = 1
    constant.attr["value"].tensor.tensor_shape.dim.add(size=1)
    constant.attr["value"].tensor.float_val.append(1.0)
    graph.node.add(name=f"{name}/read", op="Identity", input=[name])
    return graph.SerializeToString()


def test_a_version_is_of_the_bytes_while_a_file_is_young(tmp_path: Path) -> None:
    now = time.time_ns()
    rewritten(tmp_path / "x", b"old", now)
    before = version_of(tmp_path / "x")
    assert version_of(tmp_path / "x") == before
    rewritten(tmp_path / "x", b"new", now)
    assert version_of(tmp_path / "x") != before


def test_of_a_large_young_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LARGEST_SUMMED", 2)
    (tmp_path / "x").write_bytes(b"old")
    assert version_of(tmp_path / "x") != version_of(tmp_path / "x")


def test_an_old_file_is_not_read_for_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(tmp_path / "x", b"old", time.time_ns() - 10**10)
    monkeypatch.setattr(versions, "checksum_of", None)
    assert version_of(tmp_path / "x") == version_of(tmp_path / "x")


def test_hdf5_is_walked_again(tmp_path: Path) -> None:
    now, path = time.time_ns(), tmp_path / "x.h5"
    old, new = hdf5_bytes(path, "one"), hdf5_bytes(path, "two")
    assert len(old) == len(new)
    rewritten(path, old, now)
    assert set(checkpoint.open(path)) == {"one"}
    rewritten(path, new, now)
    assert set(checkpoint.open(path)) == {"two"}


def test_and_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hdf5_bytes(tmp_path / "x.h5", "one")
    found = read_tree(tmp_path / "x.h5")
    monkeypatch.setattr(tree, "_Walk", None)
    assert read_tree(tmp_path / "x.h5") is found


def test_a_frozen_graph_is_read_again(tmp_path: Path) -> None:
    now, path = time.time_ns(), tmp_path / "x.pb"
    for name in ("one", "two"):
        rewritten(path, graph_bytes(name), now)
        assert FrozenGraph().recognises(path)
        assert set(FrozenGraph().open(path)) == {name}


def test_of_a_file_on_a_server_the_copy_that_is_filled_is_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = object()
    monkeypatch.setattr(sparse_files, "at", lambda path: copy)
    assert version_of(tmp_path / "not here") is copy
