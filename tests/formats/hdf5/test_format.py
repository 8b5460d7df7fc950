"""HDF5 trees written and read, with h5py as the reference."""

import tracemalloc

import h5py
import ml_dtypes
import numpy as np
import pytest
from conformance import FormatTests, ReadBackTests, save_as, tensors_of

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, PlanError
from ckpttool.core.tensors import PIECE, Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.formats.hdf5 import values as hdf5_values
from ckpttool.formats.hdf5.format import Hdf5
from ckpttool.formats.hdf5.values import blocks


class TestHdf5(FormatTests, ReadBackTests):
    name = "hdf5"
    suffix = ".h5"
    writer = "ckpttool.formats.hdf5.format.write_tree"

    def test_names_are_not_files(self, path):
        names = ["../escape", "a b", "ünïcode", "CON", "x" * 300, "a\\b", "..."]
        self.save({name: Tensor.of(name, np.ones(1)) for name in names}, path, False)
        assert set(self.format.open(path)) == set(names)
        assert self.files(path) == [path]

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        """HDF5 has a checksum only if another program requested one."""
        with h5py.File(path, "w") as file:
            for name, value in (("a", 7.0), ("b", 9.0), ("c", 5.0)):
                file.create_dataset(name, data=np.full(8, value), fletcher32=True)
        path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert list(problems) == ["a", "b", "c"]
        assert (problems["a"], problems["c"]) == (None, None)
        assert "b is damaged" in problems["b"]
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            self.format.open(path)["b"].read()
        with pytest.raises(CorruptCheckpoint, match="b is damaged"):
            list(self.format.open(path)["b"].pieces())


def test_h5py_reads_what_is_written(tmp_path):
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    words = np.array([b"one", "zwölf".encode(), b""], object)
    tensors = tensors_of(**{"hidden1/kernel": kernel, "hidden1/words": words, "step": np.int64(7)})
    Hdf5().save(tensors, tmp_path / "w.h5", Writing(metadata={"author": "me", "note": "für alle"}))
    with h5py.File(tmp_path / "w.h5") as file:
        assert dict(file.attrs) == {"author": "me", "note": "für alle"}
        assert sorted(file["hidden1"]) == ["kernel", "words"]
        assert file["hidden1/kernel"][()].tolist() == kernel.tolist()
        assert file["hidden1/words"][()].tolist() == words.tolist()
        assert file["step"][()] == 7
        assert file["step"].dtype == np.int64


def test_metadata_is_read_back(tmp_path):
    Hdf5().save({}, tmp_path / "w.h5", Writing(metadata={"license": "MIT"}))
    assert checkpoint.open(tmp_path / "w.h5").metadata == {"license": "MIT"}


def test_bfloat16_is_marked_as_keras_marks_it(tmp_path):
    values = np.array([1.5, -2], ml_dtypes.bfloat16)
    Hdf5().save({"w": Tensor.of("w", values)}, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert (file["w"].dtype, file["w"].attrs["dtype"]) == (np.dtype("V2"), "bfloat16")
        assert file["w"][()].view(ml_dtypes.bfloat16).tolist() == [1.5, -2]


def test_the_same_tensors_give_the_same_bytes(tmp_path):
    for name in ("one.h5", "two.h5"):
        Hdf5().save(tensors_of(**{"a/b": np.arange(3)}), tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


@pytest.mark.parametrize("name", ["", ".", "/absolute", "a//b", "a/", "a/./b", "a\0b", "\ud800"])
def test_names_that_are_no_path(tmp_path, name):
    with pytest.raises(FormatError, match="HDF5 cannot store a dataset named"):
        Hdf5().save({name: Tensor.of(name, np.ones(1))}, tmp_path / "w.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["a", "a/b/c"], ["w:0"], ["w:0", "w"], ["w:0", "w/m"]])
def test_names_that_are_scopes_too_or_end_so_are_written_as_names_of_tensors(tmp_path, names):
    Hdf5().save(tensors_of(**{name: np.ones(1) for name in names}), tmp_path / "w.h5")
    assert sorted(Hdf5().open(tmp_path / "w.h5")) == sorted(names)
    with h5py.File(tmp_path / "w.h5") as file:
        assert all(f"{name}:0" in file for name in names)


def test_a_name_that_is_a_dataset_and_a_group_all_the_same(tmp_path):
    with pytest.raises(PlanError, match="a:0 and a:0/b:0 cannot be in one HDF5 file"):
        Hdf5().save(tensors_of(**{"a": np.ones(1), "a/b": np.ones(1), "a:0/b": np.ones(1)}), tmp_path / "w.h5")
    assert list(tmp_path.iterdir()) == []


def test_names_that_would_make_it_a_file_of_keras(tmp_path):
    with pytest.raises(FormatError, match="read as a file of Keras"):
        Hdf5().save(tensors_of(**{"dense/vars/0": np.ones(1)}), tmp_path / "w.h5")
    with pytest.raises(FormatError, match="read as a file of Keras"):
        Hdf5().save({}, tmp_path / "w.h5", Writing(metadata={"layer_names": "x"}))
    assert list(tmp_path.iterdir()) == []


def test_a_text_with_a_zero_byte_would_be_cut(tmp_path):
    with pytest.raises(FormatError, match="s has a text that contains a zero byte"):
        Hdf5().save({"s": Tensor.of("s", np.array([b"a\0b"], object))}, tmp_path / "w.h5")


def test_a_truth_value_that_is_neither(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["b"] = np.array([True, False])
        offset = file["b"].id.get_offset()
    raw = bytearray((tmp_path / "w.h5").read_bytes())
    raw[offset] = 7
    (tmp_path / "w.h5").write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="b contains a bool that is neither 0 nor 1"):
        checkpoint.open(tmp_path / "w.h5")["b"].read()


def test_where_the_bytes_lie(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["plain"] = np.arange(4, dtype="<i4")
        file["big"] = np.arange(4, dtype=">i4")
        file.create_dataset("packed", data=np.arange(400), compression="gzip")
        file.create_dataset("never", (4,), "<i4")
    opened = checkpoint.open(tmp_path / "w.h5")
    assert [name for name, tensor in opened.items() if tensor.extent] == ["plain"]
    extent = opened["plain"].extent
    assert extent is not None
    raw = extent.path.read_bytes()[extent.offset : extent.offset + extent.nbytes]
    assert raw == b"".join(opened["plain"].pieces()) == np.arange(4, dtype="<i4").tobytes()


LAYOUTS = [{"dtype": ">i4"}, {"chunks": (3, 7, 2), "compression": "gzip"}, {"chunks": (1, 90, 1)}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_pieces_of_a_dataset_in_any_layout(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(hdf5_values, "PIECE", 200)
    values = np.arange(5 * 90 * 3, dtype=np.int32).reshape(5, 90, 3)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("w", data=values, **layout)
    pieces = [bytes(piece) for piece in checkpoint.open(tmp_path / "w.h5")["w"].pieces()]
    assert b"".join(pieces) == values.tobytes()
    assert len(pieces) > 1


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (3, 5), (2, 1, 9, 4)], ids=str)
def test_blocks_cover_an_array_once_and_in_order(monkeypatch, shape):
    monkeypatch.setattr(hdf5_values, "PIECE", 16)
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    found = [values[index] for index, _ in blocks(shape, 4)]
    assert [part.shape for part in found] == [part for _, part in blocks(shape, 4)]
    assert b"".join(part.tobytes() for part in found) == values.tobytes()


def test_memory_stays_bounded(tmp_path):
    """Eight pieces are copied from file to file; only a few are in memory."""
    values = np.zeros(8 * PIECE // 4, np.float32)
    Hdf5().save({"w": Tensor.of("w", values), "v": Tensor.of("v", values)}, tmp_path / "a.h5")
    del values
    tracemalloc.start()
    try:
        checkpoint.save(checkpoint.open(tmp_path / "a.h5"), tmp_path / "b.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * PIECE


def test_one_dataset_is_read_without_the_others(tmp_path):
    """The others are damaged, without any effect."""
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name in ("a", "b"):
            file.create_dataset(name, data=np.full(8, ord(name)), fletcher32=True)
    raw = (tmp_path / "w.h5").read_bytes()
    (tmp_path / "w.h5").write_bytes(raw.replace(np.full(8, ord("a")).tobytes(), bytes(64)))
    opened = checkpoint.open(tmp_path / "w.h5")
    assert opened["b"].read().tolist() == [98] * 8


def test_a_file_that_is_replaced_is_not_mixed(tmp_path):
    Hdf5().save(tensors_of(a=np.zeros(3)), tmp_path / "w.h5")
    opened = checkpoint.open(tmp_path / "w.h5")
    save_as(Hdf5(), tensors_of(a=np.ones(3)), tmp_path / "w.h5", True)
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        opened["a"].read()
    assert checkpoint.open(tmp_path / "w.h5")["a"].read().tolist() == [1, 1, 1]


def test_a_suffix_that_lies(tmp_path):
    Hdf5().save(tensors_of(a=np.zeros(3)), tmp_path / "w.h5")
    lying = (tmp_path / "w.h5").rename(tmp_path / "w.keras")
    assert registry.find(lying).NAME == "hdf5"


def test_more_texts_than_hdf5_adds_in_a_second(tmp_path):
    texts = {f"text{number}": "x" for number in range(2001)}
    with pytest.raises(FormatError, match="has 2001 texts, HDF5 stores at most 2000; `to` safetensors stores all"):
        save_as(Hdf5(), {"w": Tensor.of("w", np.ones(1))}, tmp_path / "x.h5", how=Writing(metadata=texts))
    assert not list(tmp_path.iterdir())
