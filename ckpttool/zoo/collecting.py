"""Garbage collection of blobs that no manifest refers to (`unused.py`), and of other leftovers of interrupted runs."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ckpttool.catalogue.layout import REMOVED, TAG, Catalogue
from ckpttool.catalogue.manifest import is_hash
from ckpttool.catalogue.names import is_name
from ckpttool.catalogue.placing import is_placed
from ckpttool.catalogue.recipes import SUFFIX
from ckpttool.core.errors import CkptError
from ckpttool.formats.writing.temporary import sweep
from ckpttool.zoo.removal import clear, empty
from ckpttool.zoo.unused import Marked, added_since, judge, set_aside


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
    marked = Marked(catalogue)
    marked.read()
    if not dry_run:
        judge(catalogue, aside, marked)
    since = added_since(catalogue)
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
        set_aside(catalogue, unused, marked)
    _tidy(catalogue, found, dry_run)
    return found


def _blobs(catalogue: Catalogue) -> Iterator[Path]:
    folder = catalogue.inside(catalogue.blob("00").parent.parent)
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        if each.is_dir() and not each.is_symlink():
            yield from (path for path in _listed(each) if is_hash(path.name.removesuffix(SUFFIX)))


def _condemned(catalogue: Catalogue) -> list[Path]:
    folder = catalogue.inside(catalogue.condemned)
    return sorted(folder.iterdir()) if folder.is_dir() else []


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
