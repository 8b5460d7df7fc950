"""Collecting blobs that no manifest names, and whatever else interrupted runs have left in a catalogue.

Nothing is counted: what is used follows from all manifests each time. A blob that nothing names is set aside
first, then the manifests are read once more: one that was named meanwhile comes back. Whoever stores an entry looks for
its blobs again once its manifest is there, so of the two one always sees the other, and no lock is needed.
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
"""Seconds after which somebody who adds on another machine is taken to have ended."""
SLACK = 2.0
"""Seconds by which the times of two files may be in the wrong order."""


class LeftOver(NamedTuple):
    """What else is removed: where it lies in the catalogue, and what it is."""

    path: str
    what: str


@dataclass
class Collected:
    """What was removed, or would be: blobs and their bytes, and other things that were left over."""

    blobs: list[str] = field(default_factory=list)
    nbytes: int = 0
    others: list[LeftOver] = field(default_factory=list)
    kept: int = 0
    """Blobs that no manifest names yet, and that are newer than what somebody is adding."""


def collect(catalogue: Catalogue, dry_run: bool = False) -> Collected:
    """Remove what nothing names; with `dry_run` only say what.

    Raises:
        CorruptCheckpoint: a manifest cannot be read, so it is not known what it names.
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
    """The hashes that manifests name: all of those that were there when they were last read."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue, self.hashes = catalogue, set[str]()
        self._read = set[tuple[str, int, int]]()

    def read(self) -> None:
        """Read the manifests that are there now and were not read before; a manifest never changes."""
        for name in self.catalogue.names():
            for revision in self.catalogue.revisions(name):
                try:
                    inode = self.catalogue.manifest_path(name, revision).lstat().st_ino
                    if (name, revision, inode) in self._read:
                        continue
                    files = self.catalogue.manifest(name, revision).files
                except FileNotFoundError:
                    continue  # removed meanwhile
                except CkptError as error:
                    raise CorruptCheckpoint(
                        f"{error}; nothing is removed while the blobs of that manifest are unknown: "
                        f"`ckpttool zoo remove {name}@{revision}` removes it"
                    ) from error
                self.hashes.update(file.sha256 for file in files)
                self._read.add((name, revision, inode))
        self.follow()

    def follow(self) -> None:
        """Mark what the files are made of that were compacted."""
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
    """Return when the longest addition that is going on began; a time to come where there is none."""
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
    """Set blobs aside, under names that no other process has, and judge them by the manifests that are there then."""
    catalogue.inside(catalogue.condemned).mkdir(exist_ok=True)
    aside = []
    for path in unused:
        with contextlib.suppress(FileNotFoundError):
            aside.append(path.rename(catalogue.condemned / f"{path.name}.{os.urandom(6).hex()}"))
    marked.read()
    _judge(catalogue, aside, marked)


def _judge(catalogue: Catalogue, aside: list[Path], marked: _Marked) -> None:
    """Remove what was set aside before the manifests were read; what one of them names comes back."""
    for path in sorted(aside, key=lambda each: SUFFIX not in each.name):  # recipes say what pieces are for
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
    """Remove what is left of entries that are gone: files by their names, tags, manifests, empty folders."""
    for path, what in _left_over(catalogue):
        found.others.append(LeftOver(path.relative_to(catalogue.root).as_posix(), what))
        if dry_run:
            continue
        if path.suffix == REMOVED:
            empty(catalogue, path)
        else:
            clear(catalogue, path)
    for folder in [] if dry_run else _folders(catalogue.manifests):
        with contextlib.suppress(OSError):  # not empty, or no folder
            folder.rmdir()


def _listed(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where another process has removed it."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _left_over(catalogue: Catalogue) -> Iterator[tuple[Path, str]]:
    """Yield what is left of entries and revisions that are gone, and what it is."""
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
    """Say whether a folder has the files of a revision by their names, all of them and of this one."""
    if not folder.name.isdecimal() or int(folder.name) not in revisions:
        return False
    with contextlib.suppress(CkptError, OSError):
        return is_placed(catalogue, catalogue.manifest(folder.parent.name, int(folder.name)))
    return False
