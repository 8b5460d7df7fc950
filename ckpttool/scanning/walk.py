"""The scan of a path: which files it stands for, and what is found in each.

Folders are scanned recursively; links are reported and not followed. A file that cannot be read, or is neither text nor
of a known kind, is reported as unread, and the result is then not clean.
"""

import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.core.plain_files import stays_in
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.kinds import findings_by_kind, findings_in_other
from ckpttool.scanning.parts import named_in

_FAULTS = (CkptError, OSError, RecursionError, MemoryError, zipfile.BadZipFile)


@dataclass
class Scan:
    """The findings, what could not be read, and the number of files that were scanned and of those of unknown kind."""

    found: list[Finding] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    scanned: int = 0
    others: int = 0


def scan(paths: Iterable[Path]) -> Scan:
    """Scan files, folders, and the files of checkpoint prefixes, each once.

    An index stands for its shards, and a file of a checkpoint for all of them, as in every command.

    Raises:
        MissingFile: nothing exists at one of the paths.
    """
    named, scanned, result = list(paths), set[Path](), Scan()
    for path in named:
        for file in [each for each in _files(path, result) if each not in scanned]:
            _scan_file(file, file == path, result)
            scanned.add(file)
    return result


def _files(path: Path, result: Scan) -> Iterator[Path]:
    """Yield the files that a path stands for; special files and links out of the folder are added to the result."""
    if path.is_dir():
        yield from _in_folder(path, result)
    elif path.exists() or path.is_symlink():
        if _is_regular(path, path.parent, result, named=True):
            yield path
            files, unread = named_in(path)
            result.unread += unread
            yield from (each for each in files if _is_regular(each, path.parent, result, named=True))
    else:
        parts = sorted(
            each for each in path.parent.glob("*") if each.name.startswith(f"{path.name}.") and each.is_file()
        )
        if not parts:
            raise MissingFile(f"{path} is missing: no file, folder or checkpoint has that name")
        yield from parts


def _in_folder(folder: Path, result: Scan) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        result.unread.append(Unread(Path(error.filename or folder), str(error.strerror)))

    for root, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for each in [name for name in folders if Path(root, name).is_symlink()]:
            _is_regular(Path(root, each), folder, result)
        for name in sorted(names):
            if _is_regular(Path(root, name), folder, result):
                yield Path(root, name)


def _is_regular(path: Path, folder: Path, result: Scan, named: bool = False) -> bool:
    """Return whether a path is a regular file; report links out of the folder, FIFOs, sockets and devices."""
    if path.is_symlink() and not named:
        target = str(path.readlink())
        if not stays_in(folder, path):
            reason = "reading or copying it reads a file outside of the folder"
            helps = "replace it with the file, or remove it"
            result.found.append(Finding(path, "file/link", "", target, "medium", reason, helps))
        return False
    try:
        mode = path.stat().st_mode
    except OSError as error:
        result.unread.append(Unread(path, str(error.strerror)))
        return False
    if stat.S_ISREG(mode):
        return True
    reason = "it is not a file of bytes: a program that opens it may wait forever, or make a device act"
    result.found.append(Finding(path, "file/special", "", stat.filemode(mode), "medium", reason, "remove it"))
    return False


def _scan_file(path: Path, named: bool, result: Scan) -> None:
    try:
        findings = findings_by_kind(path, named)
        result.scanned += findings is not None
        result.others += findings is None
        for each in findings_in_other(path) if findings is None else findings:
            if isinstance(each, Unread):
                result.unread.append(each)
            else:
                result.found.append(each)
    except _FAULTS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        result.unread.append(Unread(path, reason.removeprefix(f"{path}: ")))
