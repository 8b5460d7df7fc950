"""Global heaps with which HDF5's library would loop forever are rejected before it reads them."""

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.hdf5 import heaps
from ckpttool.scanning.walk import scan
from ckpttool.surgery.salvage import salvage


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
    with pytest.raises(CorruptCheckpoint, match=f"x.h5: the global heap at byte {raw.index(b'GCOL')} has an object"):
        checkpoint.open(path)


def test_salvage_loses_only_the_strings(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["fc"], file["words"] = np.ones(3), ["of varying length"]
    (tmp_path / "x.h5").write_bytes(with_free_space_of_no_size((tmp_path / "x.h5").read_bytes()))
    found = salvage(tmp_path / "x.h5")
    assert (list(found.tensors), [lost.name for lost in found.lost]) == (["fc"], ["words"])
    assert "has an object after which none can follow" in found.lost[0].why


def test_scan_does_not_read_the_network_in_an_attribute(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["model_config"] = "{}"
    (tmp_path / "x.h5").write_bytes(with_free_space_of_no_size((tmp_path / "x.h5").read_bytes()))
    result = scan([tmp_path / "x.h5"])
    (problem,) = [each.problem for each in result.unread]
    assert (result.found, "has an object after which none can follow" in problem) == ([], True)


@pytest.mark.parametrize("size", [2**64 - 1 - 4096, 2**64 - 17, 2**64 - 24, 2**63])
def test_an_object_so_large_that_its_end_comes_before_it_is_refused(path, size):
    raw = bytearray(path.read_bytes())
    first = raw.index(heaps.SIGNATURE) + heaps.OBJECT
    raw[first + 8 : first + 16] = size.to_bytes(8, "little")
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="has an object after which none can follow"):
        checkpoint.open(path)


def test_a_heap_that_goes_on_behind_its_end_is_refused_where_the_library_would_not_get_on(path):
    raw = bytearray(path.read_bytes())
    heap = raw.index(heaps.SIGNATURE)
    raw[heap + 8 : heap + 16] = (4096 + 256).to_bytes(8, "little")
    raw[heap + 4096 : heap + 4096] = b"TREE" + bytes(4) + b"\xff" * 8 + bytes(240)
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="has an object after which none can follow"):
        checkpoint.open(path)


def test_heaps_within_heaps_are_walked_no_more_often_than_the_file_has_objects(path, monkeypatch):
    raw = path.read_bytes()
    header = heaps.SIGNATURE + (32_000).to_bytes(8, "little")
    large, empty = (bytes([1, *[0] * 7, size, *[0] * 7]) for size in (32, 0))
    path.write_bytes(raw + (large + header + empty) * 4000)
    walked = []
    steps = heaps._steps
    monkeypatch.setattr(heaps, "_steps", lambda *given: (walked.append(1) or step for step in steps(*given)))
    with pytest.raises(CorruptCheckpoint, match="they overlap"):
        checkpoint.open(path)
    assert len(walked) <= path.stat().st_size // heaps.OBJECT + 1


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
