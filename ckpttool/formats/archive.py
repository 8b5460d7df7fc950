"""Zip archives: what every reader of one refuses, and the bytes of its members."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ckpttool.errors import CorruptCheckpoint, FormatError
from ckpttool.tensors import PIECE

UNPACKED_LIMIT = 4 << 30
RATIO_LIMIT = 100
"""A compressed member over both limits is refused: it is a bomb rather than weights."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError)


def is_zip(path: Path) -> bool:
    """Say whether a file begins as a zip does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


def opened(path: Path) -> zipfile.ZipFile:
    """Open an archive.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        return zipfile.ZipFile(path)
    except (*BAD_ZIP, NotImplementedError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{path}: the zip file is damaged or cut off: {error}") from error


def refuse_packing(path: Path, info: zipfile.ZipInfo, name: str) -> None:
    """Check that a member is packed in a way that is read, and not to excess.

    Raises:
        FormatError: it is not.
    """
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{path}: {name} is encrypted, or compressed in a way that is not read")
    if info.file_size > max(UNPACKED_LIMIT, RATIO_LIMIT * info.compress_size):
        raise FormatError(f"{path}: {name} claims to unpack {info.compress_size} bytes to {info.file_size}")


def member_bytes(path: Path, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
    """Yield the bytes of a member; the zip's checksum is compared at the end.

    Raises:
        CorruptCheckpoint: it is damaged.
    """
    try:
        with opened(path) as archive, archive.open(info) as file:
            while piece := file.read(PIECE):
                yield piece
    except (*BAD_ZIP, NotImplementedError) as error:
        raise CorruptCheckpoint(f"{path}: {name} is damaged: {error}") from error
