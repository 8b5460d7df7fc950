"""Places of an HDF5 file: after a user block, within a file, with bytes after its end; h5py makes the files."""

import io
import os
import zipfile
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool.core import plain_files
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.hdf5.source import (
    MAGIC,
    Hdf5Source,
    Unpacked,
    bytes_after,
    end_address,
    is_hdf5,
    opened,
    stamp_of,
)
from ckpttool.formats.hdf5.tree import walk
from ckpttool.formats.reading.archive import MemberInPlace, members
from ckpttool.remote import sparse_files


def hdf5(path: Path, **options: object) -> Path:
    with h5py.File(path, "w", **options) as file:
        file["w"] = np.arange(3)
    return path


@pytest.mark.parametrize("block", [0, 512, 1024, 4096, 16384])
def test_the_signature_is_found_behind_a_user_block(tmp_path: Path, block: int) -> None:
    assert is_hdf5(hdf5(tmp_path / "w.h5", userblock_size=block))


def test_it_is_looked_for_up_to_the_last_byte_and_not_beyond(tmp_path: Path) -> None:
    for start, found in ((512, True), (1024, True), (768, False), (256, False)):
        (tmp_path / "x").write_bytes(bytes(start) + MAGIC)
        assert is_hdf5(tmp_path / "x") is found
    (tmp_path / "x").write_bytes(bytes(512) + MAGIC[:-1])
    assert not is_hdf5(tmp_path / "x")
    assert not is_hdf5(tmp_path)


def test_a_tar_archive_whose_first_member_is_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(257) + b"ustar".ljust(255, b"\0") + hdf5(tmp_path / "w.h5").read_bytes())
    assert not is_hdf5(tmp_path / "x")


@pytest.mark.parametrize(("libver", "version"), [("earliest", 0), ("v108", 2), ("v110", 3)])
def test_where_a_file_says_that_it_ends(tmp_path: Path, libver: str, version: int) -> None:
    data = hdf5(tmp_path / "w.h5", libver=(libver, libver if libver != "earliest" else "v108")).read_bytes()
    assert data[8] == version
    assert end_address(data[:64]) == len(data)


def test_version_1_has_four_bytes_more_and_what_is_not_known_tells_no_end(tmp_path: Path) -> None:
    first = bytearray(hdf5(tmp_path / "w.h5").read_bytes()[:64])
    first[8], first[44:52] = 1, (777).to_bytes(8, "little")
    assert end_address(bytes(first)) == 777
    assert end_address(bytes(first[:63])) is None
    assert end_address(b"x" + bytes(first[1:])) is None
    first[13] = 4
    assert end_address(bytes(first)) is None
    assert end_address(MAGIC + bytes([3, 8]) + bytes(54)) == 0
    assert end_address(MAGIC + bytes([4, 8]) + bytes(54)) is None


def test_bytes_after_the_end_are_counted_and_a_second_file_is_refused(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "w.h5")
    data = path.read_bytes()
    for after in (b"", b"x", b"hello"):
        path.write_bytes(data + after)
        assert bytes_after(Hdf5Source.of(path)) == len(after)
    path.write_bytes(data + data)
    with pytest.raises(FormatError, match=f"{len(data)} bytes follow its end, which are another HDF5 file"):
        bytes_after(Hdf5Source.of(path))
    path.write_bytes(data[:-1])
    assert bytes_after(Hdf5Source.of(path)) == 0
    assert bytes_after(Hdf5Source.of(hdf5(tmp_path / "b.h5", userblock_size=512))) == 0


def test_on_a_server_the_end_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Hdf5Source.of(hdf5(tmp_path / "w.h5"))
    monkeypatch.setattr(sparse_files, "at", lambda path: object())
    monkeypatch.setattr(Hdf5Source, "bytes", None)
    assert bytes_after(source) == 0


def test_unpacked_bytes_go_with_the_last_that_refers_to_them() -> None:
    unpacked = Unpacked([b"a", b"b"])
    descriptor = unpacked._descriptor
    with unpacked.open() as file, unpacked.open() as other:
        assert (file.read(1), other.read(), file.read()) == (b"a", b"ab", b"b")
    os.fstat(descriptor)
    del unpacked, file, other
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_part_of_a_file_and_unpacked_bytes_are_read_as_files(tmp_path: Path) -> None:
    data = hdf5(tmp_path / "w.h5").read_bytes()
    (tmp_path / "x").write_bytes(b"before" + data + b"after")
    whole = Hdf5Source.of(tmp_path / "x")
    part = Hdf5Source(whole.path, len(data), 6, whole.stamp)
    unpacked = Hdf5Source(whole.path, len(data), 0, whole.stamp, Unpacked([data[:100], data[100:]]))
    for source in (part, unpacked):
        with opened(source) as file:
            assert file["w"][()].tolist() == [0, 1, 2]
        assert bytes_after(source) == 0


def test_a_part_ends_where_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"before" + b"0123456789" + b"after")
    opened: list[io.BufferedReader] = []
    monkeypatch.setattr(
        sparse_files, "opened", lambda path, _block: opened.append(plain_files.opened(path)) or opened[-1]
    )
    with Hdf5Source(tmp_path / "x", 10, 6, ()).bytes() as part:
        assert part.readable()
        assert part.seekable()
        assert part.read(4) == b"0123"
        assert part.seek(2, io.SEEK_CUR) == 6
        assert part.read(100) == b"6789"
        assert part.read(1) == b""
        assert part.seek(-3, io.SEEK_END) == 7
        assert part.read(1) == b"7"
        assert part.seek(1) == 1
        assert part.read() == b"123456789"
        assert part.seek(99) == 99
        assert part.read(1) == b""
    assert [file.closed for file in opened] == [True]
    with Hdf5Source(tmp_path / "x", 10, 0, ()).bytes() as part:
        assert part.read() == b"before0123"


def test_a_file_that_changed_since_it_was_found_is_told_and_damage_is_one_line(tmp_path: Path) -> None:
    source = Hdf5Source.of(hdf5(tmp_path / "w.h5"))
    with (
        pytest.raises(CorruptCheckpoint, match=r"w\.h5: v is damaged: HDF5 cannot read it"),
        opened(source, "v") as file,
    ):
        file["v"]
    with pytest.raises(CorruptCheckpoint, match=r"w\.h5 is damaged: HDF5 cannot read it"), opened(source) as file:
        file["v"]
    with pytest.raises(FormatError, match="only ours"), opened(source):
        raise FormatError("only ours")
    (tmp_path / "w.h5").write_bytes(b"x" * 4000)
    with pytest.raises(CorruptCheckpoint, match=r"w\.h5 changed while it was read"), opened(source):
        pass


def test_a_file_that_is_replaced_just_before_it_is_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, new, place = Hdf5Source.of(hdf5(tmp_path / "w.h5")), hdf5(tmp_path / "new.h5"), Hdf5Source.bytes

    def of_another(source: Hdf5Source) -> object:
        new.replace(source.path)
        return place(source)

    monkeypatch.setattr(Hdf5Source, "bytes", of_another)
    with pytest.raises(CorruptCheckpoint, match=r"w\.h5 changed while it was read"), opened(source):
        pass


def test_a_member_of_an_archive_is_whole_before_a_value_is_used(tmp_path: Path) -> None:
    """Its list can be read without that, so that a large one is listed at once."""
    path, data = tmp_path / "x.zip", hdf5(tmp_path / "w.h5", userblock_size=0).read_bytes()
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("w.h5", data)
    raw, info = path.read_bytes(), members(path)["w.h5"]
    values = np.arange(3).tobytes()
    for stored, whole in ((raw, True), (raw.replace(values, values[::-1]), False)):
        path.write_bytes(stored)
        member = MemberInPlace(path, info)
        source = Hdf5Source(path, info.file_size, member.start, stamp_of(path), member=member)
        with opened(source) as file:
            assert list(file) == ["w"]
        tensor = walk(source).tensors["w"]
        with nullcontext() if whole else pytest.raises(CorruptCheckpoint, match=r"w\.h5 is damaged: the checksum"):
            assert tensor.read().tolist() == [0, 1, 2]
        with (
            nullcontext() if whole else pytest.raises(CorruptCheckpoint, match=r"w\.h5 is damaged: the checksum"),
            opened(source, "w") as file,
        ):
            assert file["w"][()].tolist() == [0, 1, 2]
