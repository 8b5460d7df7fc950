"""Files with parts: zip archives and their members, the archives of `.distcp` files, the configs in HDF5 files.

Of a zip archive: path traversal, links, duplicate names, decompression bombs, and bytes outside of all members.
"""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast
from zipfile import ZipFile, ZipInfo

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.hdf5.source import Hdf5Source, Unpacked, stamp_of
from ckpttool.formats.keras.archive import LARGEST
from ckpttool.formats.reading import archive
from ckpttool.formats.reading.archive import member_bytes, members, opened, refuse_packing
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.reading.window import Window
from ckpttool.formats.wire import strict_json
from ckpttool.remote import sparse_files
from ckpttool.scanning.arrays import array_findings
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.hdf5_links import configs_in, hdf5_findings
from ckpttool.scanning.keras_configs import config_findings
from ckpttool.scanning.others import are_numbers, findings_in
from ckpttool.scanning.parts import parts_in
from ckpttool.scanning.pickles import pickle_findings

HELP = "ckpttool does not read it; do not extract it"


def findings_in_zip(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for an archive and for the members that can act."""
    infos = _infos_of(path)
    names = frozenset(info.filename for info in infos)
    yield from _zip_findings(path, infos)
    acting = [info for info in infos if not (info.filename.endswith("/") or are_numbers(info.filename, names))]
    if not acting:
        return
    with opened(path) as whole:
        for info in acting:
            yield from _member(path, info, whole)


def _infos_of(path: Path) -> list[zipfile.ZipInfo]:
    """Return the members of an archive as listed in its directory.

    Raises:
        CorruptCheckpoint: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(sparse_files.readable(path)) as whole:
            return whole.infolist()
    except (*archive.BAD_ZIP, NotImplementedError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{path}: the zip file is damaged or truncated: {error}") from error


def _zip_findings(path: Path, infos: list[zipfile.ZipInfo]) -> Iterator[Finding]:
    """Yield findings for the members and the layout of an archive."""
    for name, count in Counter(info.filename for info in infos).items():
        if count > 1:
            reason = f"{count} members have this name, and programs differ in which they read"
            yield Finding(path, "zip/member", name, name, "medium", reason, HELP)
    for info in infos:
        try:
            archive.refuse_name(path, info)
        except FormatError:
            reason = "it is a link, or its name is empty or outside of the folder into which an archive is extracted"
            yield Finding(path, "zip/member", info.filename, info.orig_filename, "high", reason, HELP)
        if info.file_size > max(UNPACKED_LIMIT, RATIO_LIMIT * info.compress_size):
            reason = f"{counted(info.compress_size, 'byte is', 'bytes are')} declared to decompress to {info.file_size}"
            yield Finding(path, "zip/member", info.filename, info.filename, "medium", reason, HELP)
    try:
        opened(path).close()
    except CorruptCheckpoint:
        raise
    except FormatError as error:
        reason = str(error).removeprefix(f"{path}: ")
        yield Finding(path, "zip/hidden", "", path.name, "medium", reason, HELP)


def findings_in_distributed(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for the parts of a `.distcp` file: archives of torch.save, one after the other."""
    for part in parts_in(path):
        if isinstance(part, Unread):
            yield part
            continue
        window, where = Window(path, *part), f"byte {part[0]}"
        if window.piece(min(4, window.size), 0) != b"PK\3\4":
            yield from findings_in(cast(IO[bytes], window.readable()), path, path.name, where)
            continue
        infos = members(path, window)
        with opened(path, window) as whole:
            for name, info in infos.items():
                if not are_numbers(name, frozenset(infos)):
                    yield from _member(path, info, whole, f"{where}: ")


def _member(path: Path, info: ZipInfo, whole: ZipFile, before: str = "") -> Iterator[Finding | Unread]:
    """Yield findings for a member of an archive; `before` identifies the archive if the file contains several."""
    name = f"{before}{info.filename}"
    pieces = member_bytes(path, info, name, whole)
    if info.filename == "config.json":
        if info.file_size > LARGEST:
            raise FormatError(f"{path}: {name} has {info.file_size} bytes, and at most {LARGEST} are read")
        yield from _config(b"".join(pieces), path, name)
    elif name.endswith((".h5", ".hdf5")):
        yield from findings_in_hdf5(Hdf5Source(path, info.file_size, 0, stamp_of(path), Unpacked(pieces)), name)
    else:
        refuse_packing(path, info, name)
        with Unpacked(pieces).open() as file:
            file.seek(0)
            if name.endswith((".npy", ".pkl", ".pickle")):
                read = array_findings if name.endswith(".npy") else pickle_findings
                yield from read(cast(IO[bytes], file), path, name)
            else:
                yield from findings_in(cast(IO[bytes], file), path, name, name)


def findings_in_hdf5(source: Hdf5Source, where: str) -> Iterator[Finding]:
    """Yield findings for an HDF5 file: its links, and the configs of Keras in it."""
    yield from hdf5_findings(source, where)
    for name, text in configs_in(source).items():
        yield from _config(text, source.path, name)


def _config(text: bytes, path: Path, where: str) -> Iterator[Finding]:
    try:
        config = strict_json.parse(text)
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: {where} is damaged: {error}") from error
    yield from config_findings(config, path, where)
