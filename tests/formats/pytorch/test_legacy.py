"""Files of PyTorch before its zip files: a tar of storages, tensors and a pickle, and pickles one after another."""

import io
import os
import struct
import tarfile

import numpy as np
import pytest
import torch
from torch_files import FLOAT, Named, marked, pickled, saved, values

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.pytorch import legacy
from ckpttool.formats.pytorch.format import PyTorch


def one(said):
    return b"\x80\2" + pickled(said) + b"."


def count(number):
    return struct.pack("<q", number)


def header(shape, strides, offset, rank=None):
    return struct.pack("<i4x", len(shape) if rank is None else rank) + struct.pack(
        f"<{2 * len(shape) + 1}q", *shape, *strides, offset
    )


NUMBERS = np.arange(6, dtype="<f4").tobytes()
COUNTED = count(6) + NUMBERS
STORAGE = one((0, "cpu", FLOAT)) + COUNTED
STORAGES = one(1) + STORAGE + one([(1, 0, 2, 3)])
TENSOR = one((7, 0, FLOAT)) + header((2, 3), (3, 1), 0)
TENSORS = one(2) + TENSOR + one((8, 1, FLOAT)) + header((3,), (1,), 0)
VALUE = b"\x80\2}" + pickled("w") + b"K\7Qs" + pickled("part") + pickled("8") + b"Qs."


def tar(path, storages=STORAGES, tensors=TENSORS, value=VALUE, names=("storages", "tensors", "pickle")):
    parts = dict(zip(("storages", "tensors", "pickle"), (storages, tensors, value), strict=True))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
        for name in ("sys_info", *names):
            info = tarfile.TarInfo(name)
            info.size = len(parts.get(name, b""))
            out.addfile(info, io.BytesIO(parts.get(name, b"")))
    return path


def test_a_tar_has_tensors_by_number_and_storages_that_are_parts_of_others(tmp_path):
    path = tar(tmp_path / "x.pt")
    assert PyTorch().recognises(path)
    assert values(checkpoint.open(path)) == {"w": [[0, 1, 2], [3, 4, 5]], "part": [2, 3, 4]}
    assert [(checked.name, checked.problem) for checked in PyTorch().verify(path)] == [("w", None), ("part", None)]


@pytest.mark.parametrize("name", ["storages", "tensors", "pickle"])
def test_a_tar_without_one_of_its_members_is_damaged(tmp_path, name):
    path = tar(tmp_path / "x.pt", names=[each for each in ("storages", "tensors", "pickle") if each != name])
    with pytest.raises(CorruptCheckpoint, match=rf"x\.pt: its tar file has no {name}"):
        checkpoint.open(path)


def test_ids_in_a_tar_are_of_tensors_storages_and_classes(tmp_path):
    of_class = marked((Named("own.Net"), "net.py", "class Net: ...")) + b"Q)\x81"
    parts = pickled("w") + b"K\7Qs" + pickled("s") + b"K\0Qs" + pickled("net") + of_class + b"s"
    opened = checkpoint.open(tar(tmp_path / "x.pt", value=b"\x80\2}" + parts + b"."))
    assert values(opened) == {"w": [[0, 1, 2], [3, 4, 5]]}
    assert opened.left_out == ("s", "net")


def test_tensors_of_a_tar_have_up_to_64_dimensions_and_there_may_be_none(tmp_path, monkeypatch):
    for rank in (0, 64):
        tensors = one(1) + one((7, 0, FLOAT)) + header((1,) * rank, (1,) * rank, 5)
        opened = checkpoint.open(tar(tmp_path / "x.pt", tensors=tensors, value=b"\x80\2K\7Q."))
        assert opened["tensor"].shape == (1,) * rank
        assert opened["tensor"].read().ravel().tolist() == [5]
    monkeypatch.setattr(legacy, "COUNT_LIMIT", 1)
    assert len(checkpoint.open(tar(tmp_path / "x.pt", tensors=tensors, value=b"\x80\2K\7Q."))) == 1
    assert len(checkpoint.open(tar(tmp_path / "x.pt", one(0) + one([]), one(0), b"\x80\2}."))) == 0


def test_a_tar_whose_first_header_is_damaged_is_damaged(tmp_path):
    path = tar(tmp_path / "x.pt")
    raw = bytearray(path.read_bytes())
    raw[150] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match=r"x\.pt: the tar file is damaged or truncated: "):
        checkpoint.open(path)


def test_a_tar_that_is_cut_is_damaged(tmp_path):
    path = tar(tmp_path / "x.pt")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(CorruptCheckpoint, match=r"the tar file is damaged or truncated|its tar file has no"):
        checkpoint.open(path)


@pytest.mark.parametrize("number", [-1, legacy.COUNT_LIMIT + 1, True, "1"])
@pytest.mark.parametrize("part", ["storages", "tensors"])
def test_a_number_of_parts_that_cannot_be(tmp_path, number, part):
    with pytest.raises(CorruptCheckpoint, match="has no valid number of storages or tensors"):
        checkpoint.open(tar(tmp_path / "x.pt", **{part: one(number)}))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"storages": one(1) + one((0, "cpu", "float")) + count(6)}, "a storage of its tar file has no key, or no cl"),
        ({"storages": one(1) + one((0, "cpu", FLOAT)) + count(6)[:4], "names": ("tensors", "pickle", "storages")},
         "its pickle is damaged|ends within the header|ends after the file"),
        ({"storages": one(1) + one((0, "cpu", FLOAT)) + count(-1)}, "storage 0 of -4 bytes ends after the file"),
        ({"storages": one(1) + one((0, "cpu", FLOAT)) + count(1 << 40)}, "storage 0 of 4398046511104 bytes ends after"),
        ({"storages": one(1) + STORAGE + one([(1, 0, 4, 3)])}, "a view of another that it does not fit into"),
        ({"storages": one(1) + STORAGE + one([(1, 0, -1, 3)])}, "a view of another that it does not fit into"),
        ({"storages": one(1) + STORAGE + one([(1, 0, 1, -3)])}, "a view of another that it does not fit into"),
        ({"storages": one(1) + one((10**5000, "cpu", FLOAT)) + COUNTED}, "integer string conversion"),
        ({"tensors": one(1) + one((7, 9, FLOAT))}, "a tensor of its tar file has no storage"),
        ({"tensors": one(1) + one((7, 0, FLOAT)) + header((), (), 0, rank=-1)}, "tensor 7 has -1 dimension"),
        ({"tensors": one(1) + one((7, 0, FLOAT)) + header((), (), 0, rank=65)}, "tensor 7 has 65 dimensions"),
        ({"tensors": one(1) + one((7, 0, FLOAT)) + header((2, 3), (3, 1), 1)}, "ends at byte 28 of storage 0 of 24"),
        ({"value": b"\x80\2K\x09Q."}, "an id is not that of a tensor"),
        ({"value": b"\x80\2)Q."}, "an id is not that of a tensor"),
    ],
)  # fmt: skip
def test_what_a_tar_cannot_have(tmp_path, parts, says):
    path = tar(tmp_path / "x.pt", **parts)
    with pytest.raises(CorruptCheckpoint, match=says) as error:
        checkpoint.open(path)
    assert str(error.value).count(str(path)) == 1


def test_a_quantised_storage_of_a_tar_is_stepped_over_and_named(tmp_path):
    storages = (
        one(2) + one((5, "cpu", Named("torch.QInt32Storage"))) + count(1) + b"abcd" + STORAGE + one([(6, 5, 0, 1)])
    )
    tensors = one(2) + TENSOR + one((8, 6, FLOAT)) + header((1,), (1,), 0)
    opened = checkpoint.open(tar(tmp_path / "x.pt", storages, tensors))
    assert values(opened) == {"w": [[0, 1, 2], [3, 4, 5]]}
    assert opened.left_out == ("part (is of a torch.QInt32Storage)",)


MAGIC = b"\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
START = MAGIC + one(1001) + one({"little_endian": True})


def pickles(path, value, keys, storages=COUNTED):
    path.write_bytes(START + one(value) + one(keys) + storages)
    return path


def held(kind=FLOAT, view=None, key="0", elements=6):
    storage = ("storage", kind, key, "cpu", elements, view)
    return Named("torch._utils._rebuild_tensor_v2"), storage, 0, (2, 3), (3, 1), False, {}


def test_pickles_are_followed_by_the_bytes_of_their_storages(tmp_path):
    path = pickles(tmp_path / "x.pt", {"w": held()}, ["0"])
    assert values(checkpoint.open(path)) == {"w": [[0, 1, 2], [3, 4, 5]]}
    assert [(checked.name, checked.problem) for checked in PyTorch().verify(path)] == [("w", None)]


def test_a_class_that_was_saved_with_its_source_is_named_and_an_empty_storage_has_no_bytes(tmp_path):
    net = pickled("net") + marked(("module", Named("own.Net"), "net.py", "class Net: ...")) + b"Q)\x81s"
    empty = Named("torch._utils._rebuild_tensor"), ("storage", FLOAT, "1", "cpu", 0, None), 0, (0,), (1,)
    parts = pickled("w") + pickled(held()) + b"s" + net + pickled("none") + pickled(empty) + b"s"
    path = tmp_path / "x.pt"
    path.write_bytes(START + b"\x80\2}" + parts + b"." + one(["0", "1"]) + COUNTED + count(0))
    opened = checkpoint.open(path)
    assert values(opened) == {"w": [[0, 1, 2], [3, 4, 5]], "none": []}
    assert opened.left_out == ("net",)


def test_an_old_file_that_changes_while_it_is_read_is_told(tmp_path):
    path = pickles(tmp_path / "x.pt", {"w": held()}, ["0"])
    opened = checkpoint.open(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        opened["w"].read()


def test_storages_of_what_is_left_out_are_read_when_it_is_checked(tmp_path):
    path = saved(
        tmp_path / "x.pt", {"w": torch.ones(2), "optimizer": {"m": torch.ones(3)}}, _use_new_zipfile_serialization=False
    )
    names = [checked.name for checked in PyTorch().verify(path)]
    assert names[0] == "w"
    assert len(names) == 2
    assert names[1].startswith("storage ")


@pytest.mark.parametrize(
    ("value", "keys", "storages", "says"),
    [
        ({"w": held()}, ["1"], COUNTED, "its list of storages does not match those of its pickle"),
        ({"w": held()}, ("0",), COUNTED, "its list of storages does not match those of its pickle"),
        ({"w": held()}, [], b"", "refers to the storage 0, which is missing"),
        ({"w": held()}, ["0"], count(5) + NUMBERS[:20], "storage 0 has 20 bytes, but 24 according to its pickle"),
        ({"w": held()}, ["0"], count(6) + NUMBERS[:-1], "storage 0 of 24 bytes ends after the file: it is truncated"),
        ({"w": held()}, ["0"], count(6)[:-1], "is truncated: it ends within the header of a storage"),
        ({"w": held()}, ["0"], count(-6) + NUMBERS, "storage 0 of -24 bytes ends after the file"),
        ({"w": held()}, ["0"], count(6) + NUMBERS + b"x", "1 bytes follow its last storage"),
        ({"w": held(Named("torch.OwnStorage"))}, ["0"], count(6), "of a torch.OwnStorage, of unknown size"),
        ({"w": held(view=("v", 1, 6))}, ["0"], COUNTED, "a view of another that it does not fit into"),
        ({"w": ("storage", FLOAT, "0")}, ["0"], COUNTED, "an id is not that of a storage"),
    ],
)  # fmt: skip
def test_pickles_and_storages_that_do_not_match(tmp_path, value, keys, storages, says):
    with pytest.raises(FormatError, match=says):
        checkpoint.open(pickles(tmp_path / "x.pt", value, keys, storages))


def test_a_part_of_a_storage_begins_where_its_view_says(tmp_path):
    value = {
        "w": held(),
        "v": (Named("torch._utils._rebuild_tensor"), ("storage", FLOAT, "0", "cpu", 6, ("v", 4, 2)), 0, (2,), (1,)),
    }
    assert values(checkpoint.open(pickles(tmp_path / "x.pt", value, ["0"])))["v"] == [4, 5]
