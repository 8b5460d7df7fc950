"""Zip archives: path traversal, links, duplicate names, decompression bombs, and bytes outside of all members."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.reading import archive
from ckpttool.remote import sparse_files
from ckpttool.scanning.finding import Finding

HELP = "ckpttool does not read it; do not extract it"


def infos_of(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of an archive as listed in its directory.

    Raises:
        CorruptCheckpoint: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(sparse_files.readable(path)) as opened:
            return opened.infolist()
    except (*archive.BAD_ZIP, NotImplementedError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{path}: the zip file is damaged or truncated: {error}") from error


def zip_findings(path: Path, infos: list[zipfile.ZipInfo]) -> Iterator[Finding]:
    """Yield findings for the members and the layout of an archive."""
    for name, count in Counter(info.filename for info in infos).items():
        if count > 1:
            reason = f"{count} members have this name, and programs differ in which they read"
            yield Finding(path, "zip/member", name, name, "medium", reason, HELP)
    for info in infos:
        try:
            archive.refuse_name(path, info)
        except FormatError:
            reason = "it is a link, or its name is outside of the folder into which an archive is extracted"
            yield Finding(path, "zip/member", info.filename, info.orig_filename, "high", reason, HELP)
        if info.file_size > max(archive.UNPACKED_LIMIT, archive.RATIO_LIMIT * info.compress_size):
            reason = f"{counted(info.compress_size, 'byte is', 'bytes are')} declared to decompress to {info.file_size}"
            yield Finding(path, "zip/member", info.filename, info.filename, "medium", reason, HELP)
    try:
        archive.opened(path).close()
    except CorruptCheckpoint:
        raise
    except FormatError as error:
        reason = str(error).removeprefix(f"{path}: ")
        yield Finding(path, "zip/hidden", "", path.name, "medium", reason, HELP)
