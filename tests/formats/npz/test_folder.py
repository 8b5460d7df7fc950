"""`.npy` files, single and in folders: written by `numpy.save`, by path; nothing outside of a folder is read."""

import os
from pathlib import Path

import numpy as np
import pytest
from conformance import SHAPES, FolderReadingTests, numbers, tensors_of

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.npz import npy
from ckpttool.formats.npz.npy import Npy


class TestNpy(FolderReadingTests):
    name = "npy"
    checksums = False

    def save(self, tensors, path, overwrite):
        path.mkdir()
        for name, tensor in tensors.items():
            file = path / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            array = tensor.read()
            np.save(file, array.astype("S") if tensor.dtype is STRING else array)

    test_names_are_not_files = None

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", [BY_NAME[name] for name in sorted(Npy.HOLDS)], ids=str)
    def test_what_numpy_saves_is_read(self, path, dtype, shape):
        array = numbers(dtype, shape)
        self.save(tensors_of(**{"a/b": array}), path, False)
        read = self.format.open(path)["a/b"]
        back = read.read()
        assert (read.dtype, back.dtype, back.shape, back.tolist()) == (dtype, array.dtype, shape, array.tolist())
        if dtype.itemsize:
            assert b"".join(read.pieces()) == array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Arrays in two folders, one in Fortran's order and one big-endian, and a file that is not an array."""
    place = tmp_path / "weights"
    (place / "hidden1").mkdir(parents=True)
    np.save(place / "hidden1" / "kernel.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    np.save(place / "hidden1" / "bias.npy", np.arange(3, dtype=">i4"))
    np.save(place / "step.npy", np.int64(7))
    (place / "README").write_text("mine")
    return place


def test_folders_are_components_of_names(folder, tmp_path):
    opened = checkpoint.open(folder)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        "step": 7,
        "hidden1/bias": [0, 1, 2],
        "hidden1/kernel": [[0, 1, 2], [3, 4, 5]],
    }
    assert (opened.format, opened.left_out) == ("npy", ("README",))
    checkpoint.save(opened, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as read:
        assert read["hidden1/kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert read["hidden1/bias"].tolist() == [0, 1, 2]


def test_a_folder_of_folders_is_one_too(folder):
    (folder / "step.npy").unlink()
    assert sorted(checkpoint.open(folder)) == ["hidden1/bias", "hidden1/kernel"]


def test_more_files_than_a_process_may_have_open(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(80):
        np.save(tmp_path / f"{number}.npy", np.float32(number))
    opened_now = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened_now + 40, limits[1]))
    try:
        opened = checkpoint.open(tmp_path)
        assert sum(tensor.read() for tensor in opened.values()) == sum(range(80))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("target", ["../secret.npy", "../other"])
def test_links_out_of_the_folder_are_refused(folder, target):
    np.save(folder.parent / "secret.npy", np.ones(1))
    (folder.parent / "other").mkdir()
    (folder / "link.npy").symlink_to(target)
    with pytest.raises(FormatError, match=r"link\.npy is a link to another folder, which is not followed"):
        checkpoint.open(folder)


def test_links_to_folders_are_refused_wherever_they_lead(folder):
    """A link to its own folder would be followed forever."""
    (folder / "again").symlink_to(".")
    with pytest.raises(FormatError, match="again is a link to another folder, which is not followed"):
        checkpoint.open(folder)


def test_a_folder_without_arrays_is_none(tmp_path):
    (tmp_path / "README").write_text("mine")
    assert not Npy().recognises(tmp_path)
    assert not Npy().recognises(tmp_path / "README")


def test_an_array_that_changes_while_it_is_read_is_found(folder, monkeypatch):
    read = npy.array_of

    def changing(stored, pieces):
        array = read(stored, pieces)
        os.utime(folder / "hidden1" / "kernel.npy", (1, 1))
        return array

    opened = checkpoint.open(folder)
    monkeypatch.setattr(npy, "array_of", changing)
    with pytest.raises(CorruptCheckpoint, match=r"kernel\.npy changed"):
        opened["hidden1/kernel"].read()


def test_pickled_objects_are_left_out(folder):
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    opened = checkpoint.open(folder)
    assert "objects" not in opened
    assert "objects (contains Python objects or structures (object), which are never read)" in opened.left_out


def test_a_file_that_changed_since_is_found(folder):
    opened = checkpoint.open(folder)
    np.save(folder / "step.npy", np.arange(9))
    with pytest.raises(CorruptCheckpoint, match=r"step\.npy changed"):
        opened["step"].read()


def test_nothing_is_written(tmp_path):
    with pytest.raises(FormatError, match=r"\.npy files are read only; `to` npz"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x", format="npy")


def test_a_file_alone_is_a_checkpoint_of_one_tensor(tmp_path):
    np.save(tmp_path / "kernel.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    opened = checkpoint.open(tmp_path / "kernel.npy")
    assert (opened.format, list(opened), opened["kernel"].read().tolist()) == (
        "npy",
        ["kernel"],
        [[0, 1, 2], [3, 4, 5]],
    )
    assert checkpoint.open((tmp_path / "kernel.npy").rename(tmp_path / "embedding.v2")).specs()[0].name == "embedding"


def test_every_cut_of_a_file_alone_is_found(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.int16))
    whole = (tmp_path / "a.npy").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a.npy").write_bytes(whole[:size])
        with pytest.raises(FormatError):
            checkpoint.open(tmp_path / "a.npy")


def test_objects_in_a_file_alone_are_left_out(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    opened = checkpoint.open(tmp_path / "a.npy")
    assert (list(opened), len(opened.left_out)) == ([], 1)
