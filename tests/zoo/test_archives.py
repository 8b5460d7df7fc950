"""Archives of models: their content is bounded before it is read, and all defects have one kind of error."""

import bz2
import errno
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.zoo import archives

MODEL = "model.npz"


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def member(name: str, held: bytes) -> bytes:
    return header(name, len(held)) + held + bytes(-len(held) % 512)


END = bytes(1024)


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[[bytes], list[str]]:
    """Write bytes as an archive and unpack its model; return the names of the files."""

    def names(packed: bytes) -> list[str]:
        (tmp_path / "a.tar").write_bytes(packed)
        (out := tmp_path / "out").mkdir()
        archives.unpacked(tmp_path / "a.tar", "", "a.tar", out)
        return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())

    return names


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_the_model_of_an_archive_comes_out_alone(unpack, pack):
    assert unpack(pack(member("a/notes.txt", b"...") + member(f"a/{MODEL}", b"model" * 300) + END)) == [f"a/{MODEL}"]


def test_an_xz_of_several_streams_and_of_zeros_between_is_one(unpack):
    whole = member("a/notes.txt", b"...") + member(f"a/{MODEL}", b"model" * 300) + END
    assert unpack(lzma.compress(whole[:700]) + bytes(8) + lzma.compress(whole[700:]) + bytes(4)) == [f"a/{MODEL}"]


def test_an_xz_that_is_cut_off_is_damage(unpack):
    packed = lzma.compress(member(MODEL, b"model") + END)
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated"):
        unpack(packed[: len(packed) // 2])


def test_an_xz_that_asks_for_a_gigabyte_of_memory_is_refused(unpack):
    packed = bytearray(lzma.compress(member(MODEL, b"model") + END))
    packed[16] = 36  # the maximal distance of back references: 1 GiB
    packed[20:24] = struct.pack("<I", zlib.crc32(packed[12:20]))
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated: Memory usage limit exceeded"):
        unpack(bytes(packed))


@pytest.mark.parametrize("pack", [lambda whole: gzip.compress(whole, 0), bz2.compress, lzma.compress])
def test_a_change_that_only_the_checksum_shows_is_damage(unpack, pack):
    """The end of the compressed bytes, which has a checksum, is after the last block of the tar file."""
    packed = bytearray(pack(member(MODEL, b"model" * 300) + END + bytes(20_000)))
    place = packed.find(b"model" * 20)
    packed[place if place > 0 else -12] ^= 1
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated"):
        unpack(bytes(packed))


def test_bytes_after_the_compressed_ones_are_damage(unpack):
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated: Not a gzipped file"):
        unpack(gzip.compress(member(MODEL, b"model") + END) + b"more")


def test_a_tar_that_ends_with_a_zip_is_a_tar(unpack):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("w.npy", b"numbers")
    assert unpack(member(MODEL, held.getvalue()) + END) == [MODEL]


def test_a_zip_packed_by_lzma_is_refused(unpack):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(MODEL, b"model")
    with pytest.raises(CorruptCheckpoint, match=r"'model\.npz' is compressed by a method that is not supported"):
        unpack(packed.getvalue())


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_unpacks_to_megabytes_is_not_read(unpack, kind):
    packed = bz2.compress(header("x", 1 << 28, kind) + bytes(1 << 22))
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar has a member with headers of over 1048576 bytes"):
        unpack(packed)


@pytest.mark.parametrize(("many", "count"), [(15_000, 600), pytest.param(50_000, 2_000, marks=pytest.mark.slow)])
def test_texts_for_all_members_are_kept_once(unpack, many, count):
    texts = b"".join(b"%d k%05d=v\n" % (len(b"11 k00000=v\n"), number) for number in range(many))
    members = b"".join(header(f"{number}", 0) for number in range(count))
    packed = header("x", len(texts), tarfile.XGLTYPE) + texts + bytes(-len(texts) % 512) + members
    assert unpack(packed + member(MODEL, b"model") + END) == [MODEL]


def test_folders_and_links_count_as_files(unpack, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 10)
    with pytest.raises(CorruptCheckpoint, match="lists over 10 files"):
        unpack(member(MODEL, b"model") + header("folder/", 0, tarfile.DIRTYPE) * 10 + END)


def test_what_unpacks_to_far_more_than_models_do_is_refused(unpack, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 1 << 20)
    with pytest.raises(CorruptCheckpoint, match=r"decompresses to over .* and over 100 times its own size"):
        unpack(bz2.compress(member(MODEL, b"model") + member("filler", bytes(1 << 22)) + END))


def test_a_sparse_member_is_as_large_as_it_says(unpack):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        sparse = tarfile.TarInfo(MODEL)
        sparse.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40)}
        archive.addfile(sparse)
    with pytest.raises(CorruptCheckpoint, match="decompresses to over 4 GiB"):
        unpack(packed.getvalue())


def test_numbers_that_are_none_are_damage(unpack):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        sparse = tarfile.TarInfo(MODEL)
        sparse.pax_headers = {"GNU.sparse.map": "a,b"}
        archive.addfile(sparse)
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated: invalid literal"):
        unpack(packed.getvalue())


@pytest.mark.parametrize("name", [b"\xff\xff", b"\0\0"], ids=["not UTF-8", "nothing"])
def test_a_name_in_a_zip_is_a_text(unpack, name):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("é", b"...")
        archive.writestr(MODEL, b"model")
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar is damaged or truncated"):
        unpack(packed.getvalue().replace("é".encode(), name))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, held in files.items():
            archive.writestr(name, held)
    return packed.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_the_model_of_a_zip_comes_out_without_its_folders(unpack, method):
    assert unpack(zipped({"a/": b"", "a/notes.txt": b"...", f"a/{MODEL}": b"model" * 300}, method)) == [f"a/{MODEL}"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_is_there_once(unpack):
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as archive:
        for held in (b"one", b"two"):
            archive.writestr(MODEL, held)
    with pytest.raises(CorruptCheckpoint, match=rf"a\.tar contains '{MODEL}' twice"):
        unpack(twice.getvalue())


def test_a_name_of_a_tar_is_there_once_with_and_without_a_dot(unpack):
    with pytest.raises(CorruptCheckpoint, match=rf"a\.tar contains '{MODEL}' twice"):
        unpack(member(MODEL, b"one") + member(f"./{MODEL}", b"two") + END)


@pytest.mark.parametrize("most", [1, 2])
def test_as_many_files_as_the_limit_are_listed(unpack, monkeypatch, most):
    monkeypatch.setattr(archives, "MOST_FILES", most)
    packed = zipped({MODEL: b"model", "notes.txt": b"..."})
    if most == 2:
        assert unpack(packed) == [MODEL]
    else:
        with pytest.raises(CorruptCheckpoint, match="lists over 1 files"):
            unpack(packed)


def test_links_and_devices_are_not_made(unpack):
    others = b"".join(header(str(kind), 0, kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))
    assert unpack(others + member(MODEL, b"model") + END) == [MODEL]


@pytest.mark.parametrize("pack", [lambda name: member(name, b"model") + END, lambda name: zipped({name: b"model"})])
@pytest.mark.parametrize("name", ["../model.npz", "/model.npz", "a/../../model.npz"])
def test_a_path_that_leads_out_is_refused(unpack, name, pack):
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar"):
        unpack(pack(name))


def test_a_model_that_the_disk_has_no_room_for_is_refused(unpack, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 4}))
    with pytest.raises(CkptError, match=r"a\.tar decompresses to 5 bytes, but .*out has space for 4"):
        unpack(member(MODEL, b"model") + END)


def test_a_model_that_just_fits_comes_out(unpack, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 5}))
    assert unpack(member(MODEL, b"model") + END) == [MODEL]


def test_a_zip_that_says_more_than_models_have_is_refused_and_one_at_the_limit_is_not(unpack, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_RATIO", 0)
    monkeypatch.setattr(archives, "LARGEST", 1500)
    assert unpack(zipped({MODEL: b"model" * 300})) == [MODEL]


def test_a_zip_over_the_limit_is_refused(unpack, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_RATIO", 0)
    monkeypatch.setattr(archives, "LARGEST", 1499)
    with pytest.raises(CorruptCheckpoint, match=r"a\.tar decompresses to over 0 GiB and over 0 times"):
        unpack(zipped({MODEL: b"model" * 300}))


@pytest.mark.parametrize(("size", "fits"), [(4, False), (5, True), (6, False)])
def test_a_file_has_the_size_that_its_archive_says(size, fits):
    out = io.BytesIO()
    if fits:
        archives._copied(io.BytesIO(b"model"), out, size, "a#b")
        assert out.getvalue() == b"model"
    else:
        with pytest.raises(CorruptCheckpoint, match=f"a#b does not have the {size} bytes that the archive declares"):
            archives._copied(io.BytesIO(b"model"), out, size, "a#b")


def test_an_error_of_the_system_is_not_damage(unpack, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "_copied", fails)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack(member(MODEL, b"model") + END)
    assert not isinstance(caught.value, CkptError)
