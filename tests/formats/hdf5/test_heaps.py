"""Global heaps that would have HDF5's library go round without end are refused before it reads them."""

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.hdf5 import heaps


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["fc/kernel"] = np.ones((2, 3), np.float32)
        file.attrs["text"] = "of varying length"
    return path


def with_free_space_of_no_size(raw):
    heap = raw.index(heaps.SIGNATURE)
    first = heap + heaps.OBJECT
    size = int.from_bytes(raw[first + 8 : first + 16], "little")
    free = first + heaps.OBJECT + -(-size // 8) * 8
    assert raw[free : free + 2] == b"\0\0"
    return raw[: free + 8] + bytes(8) + raw[free + 16 :]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_as_h5py_writes_it_is_read(tmp_path, libver):
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        file.attrs["long"] = ["a" * 5000, "b" * 70000, ""]
        file["fc"] = np.ones(3)
    assert list(checkpoint.open(tmp_path / "x.h5")) == ["fc"]


def test_free_space_of_no_size_is_refused_where_it_is(path):
    raw = path.read_bytes()
    path.write_bytes(with_free_space_of_no_size(raw))
    with pytest.raises(CorruptCheckpoint, match=f"x.h5: the global heap at byte {raw.index(b'GCOL')} has free space"):
        checkpoint.open(path)


def test_so_it_is_in_an_archive_and_behind_a_user_block(path, tmp_path):
    import zipfile

    raw = with_free_space_of_no_size(path.read_bytes())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "x.keras", "w", method) as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("metadata.json", "{}")
            archive.writestr("model.weights.h5", raw)
        with pytest.raises(CkptError, match="global heap"):
            checkpoint.open(tmp_path / "x.keras")
    path.write_bytes(bytes(512) + raw)
    with pytest.raises(CkptError, match="global heap"):
        checkpoint.open(path)


def test_bytes_that_only_look_like_a_heap_do_no_harm(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["raw"] = np.frombuffer(heaps.SIGNATURE + bytes(8) + heaps.SIGNATURE[:5] + bytes(99), np.uint8)
    assert list(checkpoint.open(tmp_path / "x.h5")) == ["raw"]
