"""MATLAB 7.3 puts 512 bytes before HDF5's signature; and a file with a dataset that is not numeric is read."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint

FILTERS = np.random.default_rng(0).standard_normal((4, 3, 3, 2)).astype("f4")
BIASES = np.arange(4, dtype="f4").reshape(4, 1)
HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(116) + b"\0" * 8 + b"\x00\x02IM"


def make(folder: Path) -> None:
    """A network's weights as stored by MATLAB, with reversed dimensions, also in cells; and files with user blocks."""
    with h5py.File(folder / "net.mat", "w", userblock_size=512) as file:
        file["conv1f"], file["conv1b"], file["#refs#/a"] = FILTERS, BIASES, FILTERS
        cells = file.create_dataset("net/params/value", (1, 1), dtype=h5py.ref_dtype)
        cells[0, 0] = file["#refs#/a"].ref
    with (folder / "net.mat").open("r+b") as raw:
        raw.write(HEAD)
    for size in (512, 1024, 4096, 1 << 20):
        with h5py.File(folder / f"block{size}.h5", "w", userblock_size=size) as file:
            file["conv1/kernel"] = FILTERS
            file.create_dataset("conv2/kernel", data=FILTERS, chunks=(2, 3, 3, 2), compression="gzip")


def test_the_arrays_are_read_and_the_cells_are_named_as_left_out(folder, run):
    said = run("ckpttool convert net.mat -o net.npz")
    assert "skipped, as it is not a tensor of a model: net/params/value (references to objects)" in said
    with np.load("net.npz") as arrays:
        np.testing.assert_array_equal(arrays["conv1f"], FILTERS)
        np.testing.assert_array_equal(arrays["conv1b"], BIASES)


def test_turned_back_they_are_filters_of_tensorflow(folder, run):
    run("ckpttool edit net.mat --drop '#refs#' --transpose conv1f=2,3,1,0 --reshape conv1b=4 -o net.ckpt")
    np.testing.assert_array_equal(checkpoint.open("net.ckpt")["conv1f"].read(), FILTERS.transpose(2, 3, 1, 0))
    assert checkpoint.open("net.ckpt")["conv1b"].shape == (4,)


@pytest.mark.parametrize("size", [512, 1024, 4096, 1 << 20])
@pytest.mark.parametrize("suffix", [".ckpt", ".h5"])
def test_a_user_block_of_any_size(folder, run, size, suffix):
    run(f"ckpttool verify block{size}.h5")
    run(f"ckpttool convert block{size}.h5 -o out{suffix}")
    for tensor in checkpoint.open(f"out{suffix}").values():
        np.testing.assert_array_equal(tensor.read(), FILTERS)


def test_a_file_of_keras_behind_a_user_block_keeps_its_names(folder, run):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="fc")])
    model.save_weights("model.weights.h5")
    with h5py.File("model.weights.h5") as file, h5py.File("block.h5", "w", userblock_size=512) as copy:
        for name in file:
            file.copy(name, copy)
    assert run("ckpttool vars block.h5") == run("ckpttool vars model.weights.h5")


def test_a_tar_archive_is_none_though_its_first_member_begins_at_512(folder, run):
    Path("inner").mkdir()
    with h5py.File("inner/w.h5", "w") as file:
        file["kernel"] = FILTERS
    shutil.make_archive("both", "tar", "inner")
    assert "is a tar archive, which is not supported: `tar -xf both.tar`" in run("ckpttool vars both.tar", exit_code=2)
