"""A long name above many short ones: in memory each contains it, in the file it is stored once."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats.reading import path_names
from ckpttool.formats.reading.path_names import PathNames


def test_names_may_be_as_long_as_the_file_and_some_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_names, "MOST_CHARACTERS", 10)
    names = PathNames(Path("x.h5"), 5)
    for name in ("a" * 12, "b" * 8, ""):
        names.add(name)
    with pytest.raises(FormatError, match=r"x\.h5: the names in it, with their parents, are too long"):
        names.add("c")


def hdf5(path: Path, above: str, count: int) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group(above)
        for number in range(count):
            group[str(number)] = np.uint8(1)


def flax(path: Path, above: str, count: int) -> None:
    def text(value: str) -> bytes:
        return b"\xdb" + struct.pack(">I", len(value)) + value.encode()

    array = b"\x93\x91\x01\xa5uint8\xc4\x01\x01"  # its shape, its dtype, its one byte
    leaves = b"".join(text(str(number)) + b"\xc7" + bytes([len(array), 1]) + array for number in range(count))
    path.write_bytes(b"\x81" + text(above) + b"\xdf" + struct.pack(">I", count) + leaves)


@pytest.mark.parametrize(("write", "name"), [(hdf5, "x.h5"), (flax, "x.msgpack")])
def test_one_long_name_above_many_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object, name: str
) -> None:
    assert callable(write)
    write(tmp_path / name, "k" * 5000, 20)
    assert len(checkpoint.open(tmp_path / name)) == 20
    monkeypatch.setattr(path_names, "MOST_CHARACTERS", 0)
    monkeypatch.setattr(path_names, "RATIO", 1)
    write(tmp_path / f"other_{name}", "k" * 5000, 20)
    with pytest.raises(FormatError, match="the names in it, with their parents, are too long in total"):
        checkpoint.open(tmp_path / f"other_{name}")
