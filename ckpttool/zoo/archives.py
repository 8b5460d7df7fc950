"""Archives of published models, .tar.gz and .zip: extraction of the files of one model.

Members with paths outside of the archive are refused, and anything but regular files is skipped: links are never
created.
"""

import bz2
import errno
import gzip
import io
import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from ckpttool.catalogue.manifest import safe_path
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.zoo.choosing import Candidate, chosen
from ckpttool.zoo.xz import open_xz

_SUFFIX = re.compile(r"(\.tar|\.tar\.(gz|bz2|xz)|\.tgz|\.zip)$", re.IGNORECASE)
MOST_FILES = 100_000
"""The maximum number of members of an archive."""
LARGEST, LARGEST_RATIO = 4 << 30, 100
"""An archive is refused if its content exceeds both this size in bytes and this multiple of the archive's size."""
_LONGEST_PIECE = 1 << 20
"""The size in bytes of pieces that are copied, and the maximum size of a tar member's headers."""
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    gzip.BadGzipFile,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # zipfile: encrypted, or an unknown compression
    ValueError,  # both: invalid numbers, or text that is not UTF-8
    IndexError,  # zipfile: a member without a name
)


_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": open_xz}
"""Signatures of compressed tar files, with the functions that open them."""
_ZIP = b"PK"
"""The first bytes of a zip."""
_OF_ZIPS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""The accepted compression methods of zip members; LZMA, whose memory is not bounded, is not among them."""


class Archive(Protocol):
    """The regular files of an archive by path."""

    sizes: dict[str, int]

    def opened(self, name: str) -> IO[bytes]:
        """Open a file of the archive."""


def is_archive(name: str) -> bool:
    """Return whether a file name is that of an archive.

    >>> is_archive("mobilenet_v1.tgz"), is_archive("model.keras")
    (True, False)
    """
    return _SUFFIX.search(name) is not None


def stem(name: str) -> str:
    """Return a file name without the suffix of an archive, or without its last suffix.

    >>> stem("mobilenet_v1.0.tar.gz"), stem("model.v2.h5")
    ('mobilenet_v1.0', 'model.v2')
    """
    return _SUFFIX.sub("", name) if is_archive(name) else name.rpartition(".")[0] or name


def unpacked(path: Path, inside: str, where: str, folder: Path) -> tuple[Candidate, list[str]]:
    """Extract the files of one model into a folder; `inside` selects it if the archive contains several.

    Raises:
        MissingFile: the archive contains no model.
        CorruptCheckpoint: the archive is damaged, or the path of a member leads out of it.
    """
    try:
        with _opened(path, where) as archive:
            candidate, others = chosen(archive.sizes, inside, where, mark="#")
            _require_place(sum(archive.sizes[name] for name in candidate.files), path, where, folder)
            wanted = set(candidate.files)
            for name in filter(wanted.__contains__, archive.sizes):  # in the order of the archive
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.opened(name) as source, target.open("xb") as file:
                    _copied(source, file, archive.sizes[name], f"{where}#{name}")
    except CkptError:
        raise
    except _DAMAGE as error:
        raise CorruptCheckpoint(f"{where} is damaged or truncated: {error or type(error).__name__}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # a system error; the others are of bz2 or invalid seeks
            raise
        raise CorruptCheckpoint(f"{where} is damaged or truncated: {error.strerror or error}") from error
    return candidate, others


class _Unpacking(io.RawIOBase):
    """The decompressed stream of a tar file, with limits on its total size and on the size of headers."""

    def __init__(self, file: IO[bytes], most: int, where: str) -> None:
        self._file, self._most, self._where = file, most, where
        self._read = 0

    def begin(self) -> None:
        """Start the next member."""
        self._read = 0

    def end(self) -> None:
        """Read to the end, where the compressed bytes have their checksum."""
        while self._file.read(_LONGEST_PIECE):
            if self._file.tell() > self._most:
                raise _too_large(self._where)

    def read(self, size: int = -1) -> bytes:
        self._read += size if size >= 0 else _LONGEST_PIECE + 1
        if self._read > _LONGEST_PIECE:
            raise CorruptCheckpoint(f"{self._where} has a member with headers of over {_LONGEST_PIECE} bytes")
        return self._file.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._read = 0
        if position > self._most:
            raise _too_large(self._where)
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Tar:
    def __init__(self, file: tarfile.TarFile, unpacking: _Unpacking, where: str) -> None:
        self._file, self._members = file, dict[str, tarfile.TarInfo]()
        for number, each in enumerate(file):
            _require_few(number, where)
            if each.isreg():
                self._members[_name(each.name, where, self._members)] = each
            each.pax_headers = {}  # every member repeats the global headers
            unpacking.begin()
        self.sizes = {name: each.size for name, each in self._members.items()}

    def opened(self, name: str) -> IO[bytes]:
        found = self._file.extractfile(self._members[name])
        assert found is not None  # since it is a regular file
        return found


class _Zip:
    def __init__(self, file: zipfile.ZipFile, where: str) -> None:
        self._file, self._members = file, dict[str, zipfile.ZipInfo]()
        for number, each in enumerate(file.infolist()):
            _require_few(number, where)
            if not each.is_dir():
                self._members[_name(each.filename, where, self._members)] = each
            if each.compress_type not in _OF_ZIPS:
                raise CorruptCheckpoint(
                    f"{where}: {each.filename!r:.200} is compressed by a method that is not supported"
                )
        self.sizes = {name: each.file_size for name, each in self._members.items()}

    def opened(self, name: str) -> IO[bytes]:
        return self._file.open(self._members[name])


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Archive]:
    with path.open("rb") as packed:
        start = packed.read(max(map(len, _PACKED)))
        packed.seek(0)
        if start.startswith(_ZIP):  # the end of a tar file may be that of a zip in it
            with zipfile.ZipFile(packed) as archive:
                yield _Zip(archive, where)
            return
        unpack = next((_PACKED[magic] for magic in _PACKED if start.startswith(magic)), lambda file: file)
        unpacking = _Unpacking(unpack(packed), _most(path), where)
        with tarfile.open(fileobj=unpacking, mode="r:") as tar:
            members = _Tar(tar, unpacking, where)
            unpacking.end()
            yield members


def _most(path: Path) -> int:
    return max(LARGEST, LARGEST_RATIO * path.stat().st_size)


def _name(name: str, where: str, others: Collection[str]) -> str:
    """Return the normalised path of a member.

    Raises:
        CorruptCheckpoint: it leads out of the archive, or is there twice.
    """
    path = safe_path(name.removeprefix("./"), where)
    if path in others:
        raise CorruptCheckpoint(f"{where} contains {path!r:.200} twice")
    return path


def _require_few(number: int, where: str) -> None:
    if number >= MOST_FILES:
        raise CorruptCheckpoint(f"{where} lists over {MOST_FILES} files")


def _too_large(where: str) -> CorruptCheckpoint:
    return CorruptCheckpoint(
        f"{where} decompresses to over {LARGEST >> 30} GiB and over {LARGEST_RATIO} times its own size"
    )


def _require_place(size: int, path: Path, where: str, folder: Path) -> None:
    if size > _most(path):
        raise _too_large(where)
    if size > (free := shutil.disk_usage(folder).free):
        raise CkptError(f"{where} decompresses to {counted(size, 'byte')}, but {folder} has space for {free}")


def _copied(source: IO[bytes], target: IO[bytes], size: int, where: str) -> None:
    """Copy a member of the declared size.

    Raises:
        CorruptCheckpoint: it has another size.
    """
    left = size
    while left and (piece := source.read(min(left, 1 << 20))):
        target.write(piece)
        left -= len(piece)
    if left or source.read(1):
        raise CorruptCheckpoint(f"{where} does not have the {size} bytes that the archive declares")
