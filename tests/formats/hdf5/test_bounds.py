"""HDF5 files in which few bytes cause much work: each is rejected before the work is done or the memory allocated."""

import re
import resource
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.hdf5 import tree as hdf5_tree

ONES = np.ones(2, np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def refused_soon(path: Path, says: str) -> None:
    start = time.process_time()
    with pytest.raises(FormatError, match=says):
        checkpoint.open(path)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("soft", [False, True])
def test_groups_that_have_two_names_in_one_another(path, soft, monkeypatch):
    monkeypatch.setattr(hdf5_tree, "MOST_AGAIN", 50)
    with h5py.File(path, "w") as file:
        group = file
        for level in range(14):
            inner = group.create_group("a")
            group["b"] = h5py.SoftLink(f"/{'a/' * level}a") if soft else inner
            group = inner
        group["w"] = ONES
    refused_soon(
        path, "over 50 names up to .* are links to objects with another name|form a circle, or are nested too deeply"
    )


def test_the_middle_of_a_deep_path_is_left_out(path):
    with h5py.File(path, "w") as file:
        group = file
        for level in range(60):
            inner = group.create_group(f"a{level}")
            group["b"], group = inner, inner
    where = re.escape("a0/a1/a2/a3/a4/a5/a6/a7/[... 43 levels ...]/a51/a52/a53/a54/a55/a56/a57/b")
    refused_soon(path, f"over 1024 names up to {where} are links to objects with another name$")


def test_a_few_other_names_are_names(path):
    with h5py.File(path, "w") as file:
        file["a/w"] = ONES
        file["b"], file["c"] = file["a"], h5py.SoftLink("/a")
    assert list(checkpoint.open(path)) == ["a/w", "b/w", "c/w"]


def test_each_name_of_a_dataset_gives_it_with_its_attributes_and_messages_say_that_name(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("w", data=np.full(8, 9.0), fletcher32=True).attrs["unit"] = "m"
        file["v"], file["u"] = file["w"], h5py.SoftLink("/w")
    path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
    found = hdf5_tree.read_tree(path)
    for name in "uvw":
        assert found.attributes[name] == {"unit": "m"}
        with pytest.raises(CorruptCheckpoint, match=f"{name} is damaged"):
            found.tensors[name].read()


def test_soft_links_that_double(path):
    with h5py.File(path, "w") as file:
        for level in range(40):
            file[f"s{level}"] = h5py.SoftLink(f"/s{level + 1}/../s{level + 1}".replace("..", "."))
            file[f"t{level}"] = h5py.SoftLink(f"/t{level + 1}/t{level + 1}")
        file.create_group("t40")["t40"] = ONES
        file["s40"] = ONES
    refused_soon(path, "soft links have over 50000 parts|which is not in the file")


def test_many_soft_links_of_one_group(path):
    with h5py.File(path, "w") as file:
        file["w"] = ONES
        for number in range(200):
            file[f"l{number}"] = h5py.SoftLink("/w")
    start = time.process_time()
    found = checkpoint.open(path)
    assert len(found) == 201
    assert found["l199"].read().tolist() == [1, 1]
    assert time.process_time() - start < 5


def repeated(path: Path, elements: int, length: int) -> None:
    """Write an attribute of strings, and replace all of them by the first, which is long."""
    with h5py.File(path, "w") as file:
        file.attrs.create("names", ["x" * length, *(["y" * 7] * (elements - 1))], dtype=h5py.string_dtype())
        file["w"] = ONES
    data = bytearray(path.read_bytes())

    def is_reference(at: int) -> bool:
        address = int.from_bytes(data[at + 4 : at + 12], "little")
        return data[address : address + 4] == b"GCOL"

    first = next(at for at in range(len(data) - 16) if data[at] == length & 0xFF and is_reference(at))
    for at in range(first + 16, len(data) - 16):
        if data[at : at + 4] == b"\7\0\0\0" and is_reference(at):
            data[at : at + 16] = data[first : first + 16]
    path.write_bytes(data)


def test_an_attribute_whose_texts_are_one_long_text(path):
    repeated(path, 3000, 200_000)
    refused_soon(path, "HDF5 cannot read it")


def test_a_text_that_says_it_is_long(path):
    """HDF5 allocates the claimed size, and then finds that it is false."""
    with h5py.File(path, "w") as file:
        file["w"], file.attrs["name"] = ONES, "x" * 333
    data = path.read_bytes()
    at = next(at for at in range(len(data)) if data[at : at + 4] == (333).to_bytes(4, "little"))
    path.write_bytes(data[:at] + (0xFFFFFFF0).to_bytes(4, "little") + data[at + 4 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused_soon(path, "HDF5 cannot read it")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_many_short_texts_are_read(path):
    with h5py.File(path, "w") as file:
        file["w"], file.attrs["names"] = ONES, [f"layer{number}" for number in range(3000)]
    assert list(checkpoint.open(path)) == ["w"]


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_four_numbers_in_a_chunk_of_a_gibibyte(path, options):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("w", (4,), "f4", maxshape=(None,), chunks=(1 << 28,), **options)
        if options:
            dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 20)))
    refused_soon(path, "w is in chunks of 1073741824 bytes, .* bytes are stored|is declared as")


def test_what_is_stored_once_counts_once(path, monkeypatch):
    monkeypatch.setattr(hdf5_tree, "MOST_LINKS", 3)
    with h5py.File(path, "w") as file:
        file["w"] = ONES
        for number in range(4):
            file[f"v{number}"] = file["w"]
    with pytest.raises(FormatError, match="over 3 names"):
        checkpoint.open(path)
    assert issubclass(CorruptCheckpoint, FormatError)
