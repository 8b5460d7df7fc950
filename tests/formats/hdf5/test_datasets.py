"""The places of a dataset's bytes, and the fallback to HDF5's library."""

from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.hdf5.datasets import checked_place
from ckpttool.formats.hdf5.source import Hdf5Source, Unpacked
from ckpttool.remote import sparse_files


def test_bytes_that_lie_raw_in_a_file_here_are_read_without_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["w"], file["big"], file["empty"] = np.arange(4, dtype="<i4"), np.arange(4, dtype=">i4"), np.zeros((0, 3))
        file.create_dataset("chunked", data=np.arange(4), chunks=(2,))
        file.create_dataset("never", (4,), "<i4")
        file["half"] = np.array([1.5], ml_dtypes.bfloat16).view("V2")
        file["half"].attrs["dtype"] = "bfloat16"
    source = Hdf5Source.of(path)

    def offsets(of: Hdf5Source) -> dict[str, int | None]:
        return {name: checked_place(of, file[name], name).offset for name in file}

    with h5py.File(path) as file:
        raw = {name: file[name].id.get_offset() for name in ("w", "half")}
        assert offsets(source) == {"big": None, "chunked": None, "empty": None, "never": None, **raw}
        end = Hdf5Source(path, raw["w"] + 16, 0, source.stamp)
        assert checked_place(end, file["w"], "w").offset == raw["w"]
        cut = Hdf5Source(path, raw["w"] + 15, 0, source.stamp)
        assert checked_place(cut, file["w"], "w").offset is None
        assert set(offsets(Hdf5Source(path, source.size, 0, source.stamp, Unpacked([b""]))).values()) == {None}
        monkeypatch.setattr(sparse_files, "at", lambda path: object())
        assert set(offsets(source).values()) == {None}


@pytest.mark.parametrize("texts", [False, True])
def test_values_by_another_name(tmp_path: Path, texts: bool) -> None:
    values: Any = np.array([b"a", b"b"], object) if texts else np.arange(3)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["w"] = values
    source = Hdf5Source.of(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        tensor = checked_place(source, file["w"], "w").renamed("v").tensor(source)
    assert (tensor.name, tensor.read().tolist()) == ("v", values.tolist())
    assert (tensor.extent is None) is texts


def test_a_filter_that_is_not_known_is_told_to_whoever_reads(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("w", data=np.arange(3), compression="gzip")
    source = Hdf5Source.of(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        place = checked_place(source, file["w"], "w")
    assert place.tensor(source).read().tolist() == [0, 1, 2]
    unknown = place.__class__(place.spec, place.dataset, None, 32015).tensor(source)
    for reads in (unknown.read, lambda: list(unknown.pieces())):
        with pytest.raises(FormatError, match="w is compressed with filter 32015, which is unknown"):
            reads()
