"""Garbage collection of blobs that no manifest refers to, and of other leftovers of interrupted runs.

There are no reference counts: usage is determined from all manifests each time. An unused blob is first set aside, then
the manifests are read again, and a blob that is referenced by now is restored. Whoever stores an entry checks its blobs
again after writing the manifest, so one of the two always sees the other, and no lock is needed.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ckpttool.catalogue.layout import REMOVED, TAG, Catalogue
from ckpttool.catalogue.manifest import is_hash
from ckpttool.catalogue.names import is_name
from ckpttool.catalogue.placing import is_placed
from ckpttool.catalogue.recipes import SUFFIX, pieces_of
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.formats.writing.temporary import sweep
from ckpttool.zoo.blobs import ADDING
from ckpttool.zoo.removal import clear, empty

LONGEST_WORK = 7 * 24 * 3600.0
"""Seconds after which an addition by another machine is assumed to have ended."""
SLACK = 2.0
"""The tolerance in seconds when file times are compared."""


class LeftOver(NamedTuple):
    """A leftover other than a blob: its path in the catalogue, and a description."""

    path: str
    what: str


@dataclass
class Collected:
    """The removed (or, in a dry run, removable) blobs with their size in bytes, and other leftovers."""

    blobs: list[str] = field(default_factory=list)
    nbytes: int = 0
    others: list[LeftOver] = field(default_factory=list)
    kept: int = 0
    """The number of unreferenced blobs that were kept because they are newer than an addition in progress."""


def collect(catalogue: Catalogue, dry_run: bool = False) -> Collected:
    """Remove everything unreferenced; with `dry_run` only report it.

    Raises:
        CorruptCheckpoint: a manifest cannot be read, so that its references are unknown.
    """
    found = Collected()
    if not dry_run:
        sweep(catalogue.temporary)
    aside = _condemned(catalogue)
    marked = _Marked(catalogue)
    marked.read()
    if not dry_run:
        _judge(catalogue, aside, marked)
    since = _added_since(catalogue)
    unused = []
    for path in _blobs(catalogue):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if path.name in marked.hashes:
            continue
        if status.st_mtime >= since:
            found.kept += 1
            continue
        found.blobs.append(path.name)
        found.nbytes += status.st_size
        unused.append(path)
    if not dry_run:
        _remove(catalogue, unused, marked)
    _tidy(catalogue, found, dry_run)
    return found


class _Marked:
    """The hashes referenced by the manifests that existed at the last read."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue, self.hashes = catalogue, set[str]()
        self._read = set[tuple[str, int, int]]()

    def read(self) -> None:
        """Read new manifests; those read before need no second look, as they never change."""
        for name in self.catalogue.names():
            for revision in self.catalogue.revisions(name):
                try:
                    inode = self.catalogue.manifest_path(name, revision).lstat().st_ino
                    if (name, revision, inode) in self._read:
                        continue
                    files = self.catalogue.manifest(name, revision).files
                except FileNotFoundError:
                    continue  # removed concurrently
                except CkptError as error:
                    raise CorruptCheckpoint(
                        f"{error}; nothing is removed while the blobs of that manifest are unknown: "
                        f"`ckpttool zoo remove {name}@{revision}` removes it"
                    ) from error
                self.hashes.update(file.sha256 for file in files)
                self._read.add((name, revision, inode))
        self.follow()

    def follow(self) -> None:
        """Mark the pieces of compacted files."""
        for sha256 in list(self.hashes):
            if f"{sha256}{SUFFIX}" not in self.hashes and (pieces := pieces_of(self.catalogue, sha256)) is not None:
                self.hashes.add(f"{sha256}{SUFFIX}")
                self.hashes.update(each.sha256 for each in pieces)


def _blobs(catalogue: Catalogue) -> Iterator[Path]:
    folder = catalogue.inside(catalogue.blob("00").parent.parent)
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.is_dir() and not each.is_symlink():
            yield from (path for path in _listed(each) if is_hash(path.name.removesuffix(SUFFIX)))


def _added_since(catalogue: Catalogue) -> float:
    """Return the start time of the oldest addition in progress, or a time in the future if there is none."""
    begun = []
    for path in catalogue.temporary.iterdir():
        if path.name.startswith(f".{ADDING}.") and path.name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                begun.append(path.lstat().st_mtime)
    return min((each for each in begun if time.time() - each < LONGEST_WORK), default=float("inf")) - SLACK


def _condemned(catalogue: Catalogue) -> list[Path]:
    folder = catalogue.inside(catalogue.condemned)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(catalogue: Catalogue, unused: list[Path], marked: _Marked) -> None:
    """Set blobs aside under unique names, then read the manifests again and remove or restore them."""
    catalogue.inside(catalogue.condemned).mkdir(exist_ok=True)
    aside = []
    for path in unused:
        with contextlib.suppress(FileNotFoundError):
            aside.append(path.rename(catalogue.condemned / f"{path.name}.{os.urandom(6).hex()}"))
    marked.read()
    _judge(catalogue, aside, marked)


def _judge(catalogue: Catalogue, aside: list[Path], marked: _Marked) -> None:
    """Delete blobs that were set aside before the manifests were read, and restore those that are referenced."""
    for path in sorted(aside, key=lambda each: SUFFIX not in each.name):  # recipes first, as they refer to pieces
        name = path.name.rpartition(".")[0]
        sha256 = name.removesuffix(SUFFIX)
        if not is_hash(sha256) or sha256 not in marked.hashes:
            path.unlink(missing_ok=True)
            continue
        blob = catalogue.blob(sha256).with_name(name)
        with contextlib.suppress(FileNotFoundError):
            blob.parent.mkdir(parents=True, exist_ok=True)
            path.rename(blob)
        marked.follow()


def _tidy(catalogue: Catalogue, found: Collected, dry_run: bool) -> None:
    """Remove leftovers of removed entries: by-name folders, tags, manifests, empty folders."""
    for path, what in _left_over(catalogue):
        found.others.append(LeftOver(path.relative_to(catalogue.root).as_posix(), what))
        if dry_run:
            continue
        if path.suffix == REMOVED:
            empty(catalogue, path)
        else:
            clear(catalogue, path)
    for folder in [] if dry_run else _folders(catalogue.manifests):
        with contextlib.suppress(OSError):  # not empty, or not a folder
            folder.rmdir()


def _listed(folder: Path) -> list[Path]:
    """Return the content of a folder; nothing if it was removed concurrently."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _left_over(catalogue: Catalogue) -> Iterator[tuple[Path, str]]:
    """Yield the leftovers of removed entries and revisions."""
    for name in catalogue.names():
        tags = catalogue.tags(name)
        for path in _listed(catalogue.folder(name)):
            with contextlib.suppress(FileNotFoundError):
                if path.suffix == TAG and path.stem not in tags:
                    yield path, f"the tag {path.stem} of {name} refers to a revision that no longer exists"
                elif path.suffix == REMOVED and path.lstat().st_size:
                    yield path, f"the manifest of {name}@{int(path.stem)}, which was removed"
    for folder in _folders(catalogue.inside(catalogue.root / "by-name")):
        revisions = catalogue.revisions(folder.name) if is_name(folder.name) else []
        held = [] if folder.is_symlink() else _listed(folder)
        kept = [each for each in held if _is_of(catalogue, each, revisions)]
        for each in [each for each in held if each not in kept] if kept else [folder]:
            yield each, "files by name that belong to no revision, or are incomplete or wrong"


def _is_of(catalogue: Catalogue, folder: Path, revisions: list[int]) -> bool:
    """Return whether a by-name folder is complete, and belongs to the revision."""
    if not folder.name.isdecimal() or int(folder.name) not in revisions:
        return False
    with contextlib.suppress(CkptError, OSError):
        return is_placed(catalogue, catalogue.manifest(folder.parent.name, int(folder.name)))
    return False
