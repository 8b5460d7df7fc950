"""Tensors copied from file to file by the kernel: fast, and with every byte verified."""

import errno
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conformance import tensors_of

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Extent, Tensor, TensorSpec
from ckpttool.formats.reading.data_file import SCAN
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.writing import copying, read_back

BUNDLES = Path(__file__).parents[2] / "fixtures" / "bundles"
SYSTEM = os.copy_file_range
VALUES = {
    "a": np.arange(5, dtype=np.float32),
    "b": np.arange(3, dtype=np.int64),
    "empty": np.zeros((0, 3), np.float16),
    "flags": np.array([True, False, True]),
    "text": np.array([b"one", b""], object),
    "z": np.arange(4, dtype=np.uint8),
}


@pytest.fixture
def source(tmp_path):
    Bundle().save(tensors_of(**VALUES), tmp_path / "x")
    return tmp_path / "x"


@pytest.fixture
def calls(monkeypatch):
    """Number of bytes moved by each call."""
    seen = []

    def spy(source, target, count, *places):
        moved = SYSTEM(source, target, count, *places)
        seen.append(moved)
        return moved

    monkeypatch.setattr(os, "copy_file_range", spy)
    return seen


def copy_of(source, target):
    """Copy a bundle, and return the copy's content."""
    checkpoint.save(checkpoint.open(source), target)
    assert [item.problem for item in Bundle().verify(target)] == [None] * len(checkpoint.open(target))
    return {name: tensor.read().tolist() for name, tensor in checkpoint.open(target).items()}


def whole(values=VALUES):
    return {name: array.tolist() for name, array in values.items()}


def test_neighbours_are_moved_in_one_call(source, tmp_path, calls):
    assert copy_of(source, tmp_path / "y") == whole()
    assert calls == [5 * 4 + 3 * 8, 3, 4]  # up to the empty one, up to the strings, and the rest


def test_tensors_that_are_no_neighbours(source, tmp_path, calls):
    opened = checkpoint.open(source)
    checkpoint.save({name: opened[name] for name in ("z", "b", "a")}, tmp_path / "y")
    assert calls == [4, 24, 20]
    assert checkpoint.open(tmp_path / "y")["b"].read().tolist() == [0, 1, 2]


def test_a_tensor_of_several_steps(source, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(copying, "STEP", 16)
    assert copy_of(source, tmp_path / "y") == whole()
    assert calls == [16, 4, 16, 8, 3, 4]


def test_renamed_tensors_are_moved_cast_ones_are_not(source, tmp_path, calls):
    opened = checkpoint.open(source)
    checkpoint.save(opened.rename({"a": "first/a"}), tmp_path / "renamed")
    assert sum(calls) == sum(array.nbytes for name, array in VALUES.items() if name != "text")
    assert checkpoint.open(tmp_path / "renamed")["first/a"].read().tolist() == [0, 1, 2, 3, 4]
    calls.clear()
    checkpoint.save(opened.select("a").cast("float16"), tmp_path / "cast")
    assert calls == []
    assert checkpoint.open(tmp_path / "cast")["a"].read().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("before", [0, 7])
def test_where_the_system_refuses_bytes_are_read_and_written(source, tmp_path, monkeypatch, refusal, before):
    def refuses(origin, target, count, offset, place):
        if before and count > before:
            return SYSTEM(origin, target, before, offset, place)
        raise OSError(refusal, "no")

    monkeypatch.setattr(os, "copy_file_range", refuses)
    assert copy_of(source, tmp_path / "y") == whole()


def test_a_system_without_the_call(source, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range")
    assert copy_of(source, tmp_path / "y") == whole()


def test_a_system_that_moves_a_byte_at_a_time(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", lambda s, t, count, offset, place: SYSTEM(s, t, 1, offset, place))
    assert copy_of(source, tmp_path / "y") == whole()


def test_a_full_disk_is_an_error_of_the_system(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(checkpoint.open(source), tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("at", "name"), [(3, "a"), (30, "b"), (-1, "z")])
def test_a_damaged_source_is_named(source, tmp_path, at, name):
    data = tmp_path / "x.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[at] ^= 1
    data.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match=rf"x\.data-00000-of-00001: {name} is damaged: the checksum of its"):
        checkpoint.save(checkpoint.open(source), tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))


def test_a_source_that_is_cut_off(source, tmp_path):
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:30])
    with pytest.raises(CorruptCheckpoint, match=r"x\.data-00000-of-00001: it ends at byte"):
        checkpoint.save(checkpoint.open(source), tmp_path / "y")


def test_bytes_that_arrive_as_others_are_found(source, tmp_path, monkeypatch):
    def flips(origin, target, count, offset, place):
        os.pwrite(target, b"\xff" * count, place)
        return count

    monkeypatch.setattr(os, "copy_file_range", flips)
    with pytest.raises(CorruptCheckpoint, match="a reads back differently than it was written"):
        checkpoint.save(checkpoint.open(source).select("a"), tmp_path / "y")
    assert not list(tmp_path.glob("y*"))


@pytest.fixture
def loose(tmp_path):
    """A tensor in a file without checksums, listed just before."""
    path = tmp_path / "loose"
    path.write_bytes(b"head" + bytes(range(16)))
    return tensor_in(path, "uint8", 16)


def tensor_in(path, dtype, count):
    found = path.stat()
    stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    extent = Extent(path, 4, count, None, stamp)
    return Tensor(TensorSpec("t", (count,), BY_NAME[dtype]), lambda: np.zeros(count, dtype), extent=extent)


def test_without_a_known_checksum_the_index_has_that_of_the_bytes(loose, tmp_path):
    checkpoint.save({"t": loose}, tmp_path / "y")
    assert checkpoint.open(tmp_path / "y")["t"].read().tolist() == list(range(16))


@pytest.mark.parametrize("change", ["written", "replaced"])
def test_a_file_that_has_changed_since_it_was_listed(loose, tmp_path, change):
    path = loose.extent.path
    if change == "replaced":
        path.unlink()
    path.write_bytes(b"head" + bytes(16))
    with pytest.raises(CorruptCheckpoint, match="loose changed while it was read"):
        checkpoint.save({"t": loose}, tmp_path / "y")
    assert not list(tmp_path.glob("y*"))


def test_a_file_that_is_gone_was_replaced_if_it_was_listed_and_is_missing_if_it_was_not(loose, tmp_path):
    loose.extent.path.unlink()
    with pytest.raises(CorruptCheckpoint, match="loose was replaced while it was read"):
        checkpoint.save({"t": loose}, tmp_path / "y")
    named = Tensor(loose.spec, loose.read, extent=Extent(loose.extent.path, 4, 16, None))
    with pytest.raises(MissingFile, match="loose is missing"):
        checkpoint.save({"t": named}, tmp_path / "y")


def test_a_container_that_is_damaged_is_not_copied_from(loose, tmp_path):
    def damaged():
        raise CorruptCheckpoint("its container is damaged")

    within = Tensor(loose.spec, loose.read, extent=replace(loose.extent, require_whole=damaged))
    with pytest.raises(CorruptCheckpoint, match="its container is damaged"):
        checkpoint.save({"t": within}, tmp_path / "y")


def test_a_file_that_changes_while_it_is_copied(loose, tmp_path, monkeypatch):
    def late(*arguments):
        moved = SYSTEM(*arguments)
        loose.extent.path.write_bytes(b"head" + bytes(16))
        return moved

    monkeypatch.setattr(os, "copy_file_range", late)
    with pytest.raises(CorruptCheckpoint, match="loose changed while it was read"):
        checkpoint.save({"t": loose}, tmp_path / "y")


def test_a_truth_value_that_is_none_is_not_copied(tmp_path):
    (tmp_path / "loose").write_bytes(b"head\0\1\2")
    with pytest.raises(CorruptCheckpoint, match="loose: t contains a bool that is neither 0 nor 1"):
        checkpoint.save({"t": tensor_in(tmp_path / "loose", "bool", 3)}, tmp_path / "y")


def test_an_extent_of_another_size_is_refused(loose, tmp_path):
    wrong = Tensor(TensorSpec("t", (5,), BY_NAME["uint8"]), lambda: np.zeros(5), extent=loose.extent)
    with pytest.raises(CkptError, match=r"t has 16 bytes, expected 5 for uint8 \[5\]"):
        checkpoint.save({"t": wrong}, tmp_path / "y")


def test_an_empty_tensor_between_others_that_lie_in_the_file(tmp_path, loose):
    empty = tensor_in(tmp_path / "loose", "uint8", 0)
    checkpoint.save({"a": loose, "b": empty, "c": loose}, tmp_path / "y")
    opened = checkpoint.open(tmp_path / "y")
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        "a": list(range(16)),
        "b": [],
        "c": list(range(16)),
    }


def test_many_sources_are_not_all_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "OPEN_FILES", 2)
    for number in range(6):
        Bundle().save(tensors_of(**{f"t{number}": np.full(3, number)}), tmp_path / f"x{number}")
    opened = {f"t{n}": Bundle().open(tmp_path / f"x{n}")[f"t{n}"] for n in range(6)}
    checkpoint.save(opened, tmp_path / "y")
    assert [int(checkpoint.open(tmp_path / "y")[f"t{n}"].read()[0]) for n in range(6)] == list(range(6))
    with (tmp_path / "z").open("wb") as file, copying.Copier(file, tmp_path / "z") as copier:
        for tensor in opened.values():
            copier.add(tensor)
        assert len(copier._sources) == 2


def test_threads_end_with_the_copying(tmp_path):
    with (tmp_path / "z").open("wb") as file, copying.Copier(file, tmp_path / "z") as copier:
        pass
    for thread in (copier._writes, copier._made, copier._read_back._checks):
        with pytest.raises(RuntimeError, match="after shutdown"):
            thread.call(print)


def test_only_bytes_that_are_given_as_they_lie_have_an_extent():

    extents = {name: tensor.extent for name, tensor in Bundle().open(BUNDLES / "partitioned.ckpt").items()}
    assert [name for name, extent in extents.items() if extent] == ["whole"]
    assert all(tensor.extent is None for tensor in Bundle().open(BUNDLES / "strings.ckpt").values())
    first = next(iter(Bundle().open(BUNDLES / "sharded.ckpt").values())).extent
    assert (first.path.name, first.nbytes) == ("sharded.ckpt.data-00000-of-00003", 24)


def test_pieces_that_come_in_the_same_memory(tmp_path):
    values = np.arange(40, dtype=np.uint8)

    def lent():
        memory = bytearray(4)
        for start in range(0, 40, 4):
            memory[:] = values[start : start + 4].tobytes()
            yield memoryview(memory)

    tensor = Tensor(TensorSpec("t", (40,), BY_NAME["uint8"]), lambda: values, lent)
    checkpoint.save({"t": tensor, "after": np.float32(7)}, tmp_path / "y")
    opened = checkpoint.open(tmp_path / "y")
    assert (opened["t"].read().tolist(), opened["after"].read().tolist()) == (values.tolist(), 7.0)


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("given", [b"abc", b"abcdef"])
def test_a_tensor_that_gives_too_few_bytes_or_too_many(tmp_path, given, concurrent):
    spec = TensorSpec("t", (5,), BY_NAME["uint8"])
    odd = Tensor(spec, lambda: np.zeros(5), lambda: iter([memoryview(given)]), None, concurrent)
    with pytest.raises(CkptError, match=rf"t has {len(given)} bytes, expected 5 for uint8 \[5\]"):
        checkpoint.save({"t": odd, "after": np.float32(7)}, tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))


def made(name, values, before=lambda: None, concurrent=True):
    """A tensor whose only piece is made after waiting for an event."""

    def pieces():
        before()
        yield memoryview(values.tobytes())

    return Tensor(TensorSpec(name, values.shape, BY_NAME[values.dtype.name]), lambda: values, pieces, None, concurrent)


def test_tensors_that_may_be_made_beside_others_are_made_at_the_same_time(loose, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)  # a single one would wait for the other in vain
    a, b = (made(name, np.full(5, value), both.wait) for name, value in (("a", 1.0), ("b", 2.0)))
    alone = made("alone", np.arange(3.0), concurrent=False)
    checkpoint.save({"a": a, "loose": loose, "b": b, "alone": alone}, tmp_path / "y")
    opened = checkpoint.open(tmp_path / "y")
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        "a": [1.0] * 5,
        "loose": list(range(16)),
        "b": [2.0] * 5,
        "alone": [0.0, 1.0, 2.0],
    }


def test_a_piece_is_written_in_steps_which_the_system_may_cut_short(tmp_path, monkeypatch):
    content, sizes, write = os.urandom(3 * SCAN + 5), [], os.pwrite

    def spy(file, piece, offset):
        sizes.append(len(piece))
        return write(file, piece[: len(piece) - len(sizes) % 2], offset)

    monkeypatch.setattr(os, "pwrite", spy)
    with (tmp_path / "out").open("wb") as file:
        copying.write_at(file.fileno(), content, 7)
    assert (tmp_path / "out").read_bytes() == bytes(7) + content
    assert len(sizes) == 4
    assert max(sizes) == SCAN


def test_the_first_of_several_that_fail_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=60)

    def fail(name):
        both.wait()
        raise CorruptCheckpoint(f"{name} is damaged")

    tensors = {name: made(name, np.zeros(2), partial(fail, name)) for name in "ab"}
    with pytest.raises(CorruptCheckpoint, match="a is damaged"):
        checkpoint.save(tensors, tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))


def test_what_cannot_be_written_behind_is_an_error_at_the_end(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "write_at", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(VALUES, tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))


def test_what_is_read_back_is_on_the_disk_before_the_end(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(read_back, "SYNCED", 30)
    monkeypatch.setattr(read_back, "PORTION", 1)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    checkpoint.save({"a": np.arange(4.0), "b": np.arange(4.0), "c": np.arange(1.0)}, tmp_path / "y")
    data = (tmp_path / "y.data-00000-of-00001").stat().st_ino
    assert synced.count(data) == 3  # after each tensor of 32 bytes, and at the end
