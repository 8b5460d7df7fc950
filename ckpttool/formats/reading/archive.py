"""Zip archives: the checks that every reader makes, and the bytes of members."""

import contextlib
import copy
import stat
import struct
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_settled
from ckpttool.core.tensors import PIECE
from ckpttool.formats.reading.data_file import SCAN, ByteRange, CheckpointFile
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.reading.window import Window
from ckpttool.formats.reading.zip_layout import END_MARK, member_start, require_layout
from ckpttool.remote import sparse_files

BAD_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError),
    *(struct.error, RuntimeError, OverflowError),
)
"""The errors that `zipfile` raises for a damaged archive."""
_checked: deque[tuple[Path, tuple[int, ...]]] = deque(maxlen=8)
_whole: deque[tuple[Path, tuple[int, ...], int]] = deque(maxlen=8)
"""The archives and members last checked successfully, as readers open the same one repeatedly."""


def is_zip(path: Path) -> bool:
    """Return whether a file starts like a zip file."""
    if not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        return file.read(4) in (b"PK\3\4", END_MARK)


def member_names(path: Path) -> list[str] | None:
    """Return the names of an archive's members, None if it is damaged."""
    try:
        with zipfile.ZipFile(CheckpointFile(path).readable()) as archive:
            return archive.namelist()
    except BAD_ZIP:
        return None


def opened(path: Path, part: Window | None = None) -> zipfile.ZipFile:
    """Open an archive, which is a file or a part of one.

    Raises:
        CorruptCheckpoint: it is damaged.
        FormatError: `require_layout` finds data that would be ignored, such as another archive.
    """
    file = part or CheckpointFile(path)
    try:
        archive = zipfile.ZipFile(file.readable())
    except BAD_ZIP as error:
        raise CorruptCheckpoint(f"{path}: the zip file is damaged or truncated: {error}") from error
    try:
        if part or (path, file.stamp) not in _checked:
            require_layout(file, archive)
            if not part and is_settled(file.stamp):
                _checked.append((path, file.stamp))
    except BaseException:
        archive.close()
        raise
    return archive


def directory_of(path: Path) -> int:
    """Return the offset of an archive's directory, which has a checksum of every member.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    with opened(path) as archive:
        return archive.start_dir


def members(path: Path, part: Window | None = None) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name; `part` is its place in a larger file.

    Raises:
        FormatError: a name is outside of the archive or duplicated, a member is a link or a decompression bomb.
        CorruptCheckpoint: it is damaged.
    """
    infos: dict[str, zipfile.ZipInfo] = {}
    with opened(path, part) as archive:
        for info in archive.infolist():
            if info.filename in infos:
                raise FormatError(f"{path}: two members are named {info.filename}")
            refuse_name(path, info)
            refuse_packing(path, info, info.filename)
            infos[info.filename] = info
    return infos


def refuse_name(path: Path, info: zipfile.ZipInfo) -> None:
    """Check that a member is not a link, and has a name inside the archive.

    Raises:
        FormatError: it is a link, or its name is empty or outside of the archive.
    """
    name = info.orig_filename
    if not name:
        raise FormatError(f"{path}: a member has no name")
    leads_away = ".." in PurePosixPath(name).parts or name.startswith("/") or {"\\", "\0", ":"} & set(name)
    if leads_away or stat.S_ISLNK(info.external_attr >> 16):
        raise FormatError(f"{path}: the member {name!r} is a link, or has a name outside of the archive")


def refuse_packing(path: Path, info: zipfile.ZipInfo, name: str) -> None:
    """Check that a member is compressed by a supported method, and is not a decompression bomb.

    Raises:
        FormatError: the method is not supported, or the ratio exceeds the limits.
    """
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{path}: {name} is encrypted, or compressed by a method that is not supported")
    if info.file_size > max(UNPACKED_LIMIT, RATIO_LIMIT * info.compress_size):
        raise FormatError(
            f"{path}: {name} is declared to decompress {counted(info.compress_size, 'byte')} to {info.file_size}"
        )


def member_bytes(path: Path, info: zipfile.ZipInfo, name: str, whole: zipfile.ZipFile | None = None) -> Iterator[bytes]:
    """Yield the bytes of a member; the zip's checksum is verified at the end.

    Pass the opened archive to read many members: opening it takes time in proportion to the number of its members.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        with contextlib.ExitStack() as held, (whole or held.enter_context(opened(path))).open(info) as file:
            while piece := file.read(PIECE):
                yield piece
    except BAD_ZIP as error:
        raise CorruptCheckpoint(f"{path}: {name} is damaged: {error}") from error


class MemberInPlace:
    """A member that is read in place, after its bytes were verified by the zip's checksum."""

    def __init__(self, path: Path, info: zipfile.ZipInfo) -> None:
        """Store the archive and the member, which is not compressed."""
        self._path, self._info, file = path, info, CheckpointFile(path)
        self.start, self._stamp = member_start(file, info), file.stamp
        self._whole_at: tuple[int, ...] | None = None

    def require_whole(self) -> None:
        """Verify the member's checksum once for each version of the file.

        Raises:
            CorruptCheckpoint: if its checksum differs, or the archive was replaced.
        """
        file, running = CheckpointFile(self._path), 0
        file.require_unchanged(self._stamp)
        if self._whole_at == file.stamp or (self._path, file.stamp, self.start) in _whole:
            return
        stored = ByteRange(self.start, self._info.file_size)
        for piece in file.stream(self._info.filename, stored, SCAN):
            running = zlib.crc32(piece, running)
        if running != self._info.CRC:
            raise CorruptCheckpoint(
                f"{self._path}: {self._info.filename} is damaged: the checksum of its {stored.size} bytes is "
                f"{running:08x}, expected {self._info.CRC:08x}"
            )
        self._whole_at = file.stamp
        if is_settled(file.stamp):
            _whole.append((self._path, file.stamp, self.start))


def without_checksum(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return a copy of a member whose checksum `zipfile` does not verify, to read bytes before damaged ones."""
    info = copy.copy(info)
    del info.CRC
    return info
