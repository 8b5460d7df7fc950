"""Zips whose parts are inconsistent in one field: header, directory and ends are compared with one another."""

import io
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading import archive
from ckpttool.formats.reading.data_file import CheckpointFile

FIRST, SECOND = b"bytes of the first", b"bytes of the second one"
HEADER, ENTRY, END, LARGE_END = b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"
Change = Callable[[bytearray], object]


def packed(packing: int = zipfile.ZIP_STORED, large: bool = False, stream: bool = False) -> bytearray:
    """Return an archive of two members; with `large`, sizes are in an extra field, with `stream`, after the bytes."""
    buffer = io.BytesIO()
    if stream:
        buffer.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(buffer, "w", packing) as out:
        for name, data in (("first", FIRST), ("second", SECOND)):
            with out.open(zipfile.ZipInfo(name, (2026, 11, 29, 12, 0, 0)), "w", force_zip64=large) as member:
                member.write(data)
    return bytearray(buffer.getvalue())


def with_large_end(data: bytearray) -> bytearray:
    """Return an archive with an end record for large numbers, before the usual one."""
    at = data.rindex(END)
    count, size, start = struct.unpack_from("<HLL", data, at + 10)
    large = LARGE_END + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, count, count, size, start)
    return data[:at] + large + b"PK\6\7" + struct.pack("<LQL", 0, at, 1) + data[at:]


def put(mark: bytes, field: int, kind: str, *values: int, last: bool = False) -> Change:
    """Return a function that writes numbers to a field of the first, or the last, part with a mark."""

    def change(data: bytearray) -> None:
        at = data.rindex(mark) if last else data.index(mark)
        struct.pack_into(f"<{kind}", data, at + field, *values)

    return change


def both(header: int, entry: int, kind: str, *values: int) -> Change:
    """Return a function that writes numbers to the second member's header and its entry in the directory."""

    def change(data: bytearray) -> None:
        put(HEADER, header, kind, *values, last=True)(data)
        put(ENTRY, entry, kind, *values, last=True)(data)

    return change


def inserted(data: bytearray, at: int, more: bytes) -> None:
    """Insert bytes into an archive; the offsets of the directory and the second member are updated."""
    data[at:at] = more
    for mark, field in ((ENTRY, 42), (END, 16)):
        place = data.rindex(mark) + field
        (start,) = struct.unpack_from("<L", data, place)
        struct.pack_into("<L", data, place, start + (len(more) if start >= at else 0))


def hidden_before_the_second(data: bytearray) -> None:
    inserted(data, data.rindex(HEADER), b"hidden")


def hidden_before_the_directory(data: bytearray) -> None:
    inserted(data, data.index(ENTRY), b"hidden")


def sizes_before_the_directory(data: bytearray) -> None:
    inserted(data, data.index(ENTRY), struct.pack("<3L", zlib.crc32(SECOND), len(SECOND), len(SECOND)))


def directory_moved(data: bytearray) -> None:
    """Move everything in the directory, and its offset in the end record, by five bytes."""
    put(END, 16, "L", data.index(ENTRY) + 5)(data)
    for last in (False, True):
        at = (data.rindex(ENTRY) if last else data.index(ENTRY)) + 42
        struct.pack_into("<L", data, at, struct.unpack_from("<L", data, at)[0] + 5)


def refused(tmp_path: Path, data: bytes, says: str, damaged: bool = True) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(CorruptCheckpoint if damaged else FormatError, match=says):
        archive.opened(tmp_path / "x.zip")


def accepted(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    (tmp_path / "x.zip").write_bytes(data)
    with archive.opened(tmp_path / "x.zip") as found:
        return {info.filename: found.read(info) for info in found.infolist()}


BETWEEN, DIFFERS = "what follows it in the zip file begins at", "has a header that differs"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(ENTRY, 42, "L", 0, last=True), "the zip file's directory has an invalid entry for first"),
        (put(ENTRY, 34, "H", 1), "the zip file's directory has an invalid entry for first"),
        (put(HEADER, 30, "B", ord("g")), "first is not at the place in the zip file's directory"),
        (put(HEADER, 26, "H", 4), "first is not at the place in the zip file's directory"),
        (put(HEADER, 0, "B", ord("Q")), "first is not at the place in the zip file's directory"),
        (put(HEADER, 12, "H", 0x5D7C), DIFFERS),
        (put(HEADER, 14, "L", 1), DIFFERS),
        (put(HEADER, 8, "H", zipfile.ZIP_DEFLATED), DIFFERS),
        (both(18, 20, "2L", 999, 999), "is truncated: second would end after it"),
        (both(22, 24, "L", 7), f"second is declared with 7 bytes, but {len(SECOND)} are there"),
        (put(ENTRY, 32, "H", 3, last=True), "the zip file's end does not fit its directory"),
        (directory_moved, "the zip file's end does not fit its directory"),
        (put(END, 4, "H", 1), "its numbers contradict one another"),
        (put(END, 20, "H", 1), "its numbers contradict one another"),
        (put(END, 8, "2H", 3, 3), "declares 3 members, but 2 are there"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, change: Change, says: str) -> None:
    data = packed()
    change(data)
    refused(tmp_path, data, says)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("hides", [hidden_before_the_second, hidden_before_the_directory])
def test_bytes_between_the_parts(tmp_path: Path, stream: bool, hides: Change) -> None:
    data = packed(stream=stream)
    hides(data)
    refused(tmp_path, data, BETWEEN, damaged=False)


def test_sizes_after_a_member_that_has_them_before_it_and_the_other_way_round(tmp_path: Path) -> None:
    data = packed()
    sizes_before_the_directory(data)
    refused(tmp_path, data, f"second ends at .*{BETWEEN}", damaged=False)
    data = packed()
    both(6, 8, "H", 8)(data)
    refused(tmp_path, data, f"second ends at .*{BETWEEN}", damaged=False)


def test_bytes_around_an_archive(tmp_path: Path) -> None:
    refused(tmp_path, packed() + b"more", "bytes follow its zip archive", damaged=False)
    refused(tmp_path, b"more" + packed(), "4 bytes precede", damaged=False)
    refused(tmp_path, b"more" + with_large_end(packed()), "4 bytes precede", damaged=False)
    data = packed()
    inserted(data, 0, b"more")
    put(ENTRY, 42, "L", 4)(data)
    refused(tmp_path, data, "4 bytes precede", damaged=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(LARGE_END, 4, "Q", 45), "refers to byte .* where there is no end record"),
        (put(b"PK\6\7", 8, "Q", 1), "bytes precede"),
        (put(LARGE_END, 20, "L", 1), "its numbers contradict one another"),
        (put(LARGE_END, 24, "Q", 1), "its numbers contradict one another"),
    ],
)
def test_a_large_end_that_does_not_fit(tmp_path: Path, change: Change, says: str) -> None:
    data = with_large_end(packed())
    change(data)
    refused(tmp_path, data, says, damaged="precede" not in says)


def test_a_large_end_is_on_the_first_disk_of_one(tmp_path: Path) -> None:
    """Python's reader rejects others, too, but accepts an archive of zero disks."""
    data = with_large_end(packed())
    put(b"PK\6\7", 16, "L", 0)(data)
    refused(tmp_path, data, "where there is no end record")


def test_sizes_in_an_extra_field(tmp_path: Path) -> None:
    whole = packed(large=True)
    assert accepted(tmp_path, whole) == {"first": FIRST, "second": SECOND}
    field = HEADER, 35
    for change in (put(*field, "H", 2), put(*field, "2H", 0x99, 13), put(*field, "2H", 1, 8)):
        data = whole.copy()
        change(data)
        refused(tmp_path, data, DIFFERS)
    data = whole.copy()
    at = data.index(HEADER) + 35
    data[at : at + 20] = struct.pack("<2H4s2H2L", 9, 4, b"else", 1, 4, 0, 0)[:20]
    refused(tmp_path, data, DIFFERS)


@pytest.mark.parametrize("flags", [{}, {"packing": zipfile.ZIP_DEFLATED}, {"stream": True}])
def test_what_programs_write_is_read(tmp_path: Path, flags: Any) -> None:
    assert accepted(tmp_path, packed(**flags)) == {"first": FIRST, "second": SECOND}
    assert accepted(tmp_path, with_large_end(packed(**flags))) == {"first": FIRST, "second": SECOND}


def test_archives_of_nothing_and_of_a_name_of_nothing(tmp_path: Path) -> None:
    nothing = bytearray(END + bytes(18))
    assert accepted(tmp_path, nothing) == accepted(tmp_path, with_large_end(nothing)) == {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        info = zipfile.ZipInfo("x")
        info.filename = info.orig_filename = ""
        with out.open(info, "w") as member:
            member.write(FIRST)
    assert accepted(tmp_path, buffer.getvalue()) == {"": FIRST}


def test_a_comment_and_names_of_any_letters(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.comment = b"made by nobody"
        out.writestr("gewichte/schicht-ä", FIRST)
    assert accepted(tmp_path, buffer.getvalue()) == {"gewichte/schicht-ä": FIRST}


@pytest.mark.parametrize("change", [both(6, 8, "H", 1), both(8, 10, "H", zipfile.ZIP_BZIP2)])
def test_members_that_are_encrypted_or_packed_in_another_way(tmp_path: Path, change: Change) -> None:
    data = packed()
    change(data)
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(FormatError, match="second is encrypted, or compressed by a method that is not supported"):
        archive.members(tmp_path / "x.zip")


def test_a_member_that_is_packed_to_excess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_LIMIT", 1000)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("bomb", bytes(100_000))
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    with pytest.raises(FormatError, match=r"bomb is declared to decompress \d+ bytes to 100000"):
        archive.members(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["../first", "/first", "a\\first", "c:first"])
def test_a_name_that_leads_away(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.writestr(name, FIRST)
    with pytest.raises(FormatError, match="is a link, or has a name outside of the archive"):
        archive.members(tmp_path / "x.zip")


def test_a_member_without_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.open(zipfile.ZipInfo(""), "w").close()
    with pytest.raises(FormatError, match=r"x\.zip: a member has no name"):
        archive.members(tmp_path / "x.zip")


def test_a_link(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("first")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.writestr(info, b"/etc/passwd")
    with pytest.raises(FormatError, match="is a link, or has a name outside of the archive"):
        archive.members(tmp_path / "x.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        out.writestr("first", FIRST)
        out.writestr("first", SECOND)
    with pytest.raises(FormatError, match="two members are named first"):
        archive.members(tmp_path / "x.zip")


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"something else")
    assert not archive.is_zip(tmp_path / "x.zip")
    assert not archive.is_zip(tmp_path)
    assert archive.member_names(tmp_path / "x.zip") is None
    (tmp_path / "x.zip").write_bytes(packed())
    assert archive.is_zip(tmp_path / "x.zip")
    assert archive.member_names(tmp_path / "x.zip") == ["first", "second"]


def test_the_bytes_of_a_member_and_where_the_directory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PIECE", 10)
    data, path = packed(), tmp_path / "x.zip"
    path.write_bytes(data)
    info = archive.members(path)["second"]
    assert archive.directory_of(path) == data.index(ENTRY)
    assert list(archive.member_bytes(path, info, "w")) == [SECOND[:10], SECOND[10:20], SECOND[20:]]
    path.write_bytes(data.replace(SECOND, SECOND.upper()))
    with pytest.raises(CorruptCheckpoint, match=r"x\.zip: w is damaged: Bad CRC-32"):
        list(archive.member_bytes(path, info, "w"))


def aged(path: Path, seconds: int = 10) -> Path:
    then = time.time_ns() - seconds * 10**9
    os.utime(path, ns=(then, then))
    return path


def test_an_archive_is_looked_through_once_when_it_is_older_than_the_step_of_a_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[CheckpointFile] = []
    monkeypatch.setattr(archive, "require_layout", lambda file, found: looked.append(file))
    for name, age, times in (("young", 0, 2), ("old", 10, 1)):
        (tmp_path / name).write_bytes(packed())
        aged(tmp_path / name, age)
        looked.clear()
        for _ in range(2):
            archive.opened(tmp_path / name).close()
        assert len(looked) == times, name


def test_and_so_are_the_bytes_of_a_member_or_once_by_each_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    stream = CheckpointFile.stream
    monkeypatch.setattr(
        CheckpointFile, "stream", lambda file, name, *how: read.append(name) or stream(file, name, *how)
    )
    for name, age, times in (("young", 0, 2), ("old", 10, 1)):
        (tmp_path / name).write_bytes(packed())
        info = archive.members(aged(tmp_path / name, age))["second"]
        read.clear()
        for _ in range(2):
            member = archive.MemberInPlace(tmp_path / name, info)
            member.require_whole()
            member.require_whole()
        assert len(read) == times, name
    (tmp_path / "old").write_bytes(packed().replace(SECOND, SECOND.upper()))
    with pytest.raises(CorruptCheckpoint, match="old changed while it was read"):
        member.require_whole()
    with pytest.raises(CorruptCheckpoint, match="second is damaged: the checksum of its 23 bytes is"):
        archive.MemberInPlace(tmp_path / "old", info).require_whole()
