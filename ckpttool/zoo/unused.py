"""Unused blobs: set aside, judged by the manifests, and removed or restored.

There are no reference counts: usage is determined from all manifests each time. An unused blob is first set aside, then
the manifests are read again, and a blob that is referenced by now is restored. Whoever stores an entry checks its blobs
again after writing the manifest, so one of the two always sees the other, and no lock is needed.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import is_hash
from ckpttool.catalogue.recipes import SUFFIX, pieces_of
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.zoo.blobs import ADDING, at_work

LONGEST_WORK = 7 * 24 * 3600.0
"""Seconds after which an addition by another machine is assumed to have ended."""
SLACK = 2.0
"""The tolerance in seconds when file times are compared."""


@contextlib.contextmanager
def storing(catalogue: Catalogue) -> Iterator[set[str]]:
    """Mark an addition in progress, and yield a set for the hashes of the blobs that it stores.

    If it fails, those of them that no manifest refers to are removed, except while others add entries.
    """
    stored = set[str]()
    try:
        with at_work(catalogue):
            yield stored
    except BaseException:
        with contextlib.suppress(CkptError, OSError):  # then `collect` removes them
            _withdraw(catalogue, stored)
        raise


def _withdraw(catalogue: Catalogue, stored: set[str]) -> None:
    marked, since = Marked(catalogue), added_since(catalogue)
    marked.read()
    blobs = [catalogue.inside(catalogue.blob(sha256)) for sha256 in sorted(stored - marked.hashes)]
    set_aside(catalogue, [path for path in blobs if path.is_file() and path.lstat().st_mtime < since], marked)


class Marked:
    """The hashes referenced by the manifests that existed at the last read."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Start without any; `read` adds them."""
        self.catalogue, self.hashes = catalogue, set[str]()
        self._read = set[tuple[str, int, int, int]]()

    def read(self) -> None:
        """Read new manifests; those read before need no second look, as they never change."""
        for name in self.catalogue.names():
            for revision in self.catalogue.revisions(name):
                try:
                    status = self.catalogue.manifest_path(name, revision).lstat()
                    identity = name, revision, status.st_ino, status.st_mtime_ns
                    if identity in self._read:
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
                self._read.add(identity)
        self.follow()

    def follow(self) -> None:
        """Mark the pieces of compacted files."""
        for sha256 in list(self.hashes):
            if f"{sha256}{SUFFIX}" not in self.hashes and (pieces := pieces_of(self.catalogue, sha256)) is not None:
                self.hashes.add(f"{sha256}{SUFFIX}")
                self.hashes.update(each.sha256 for each in pieces)


def added_since(catalogue: Catalogue) -> float:
    """Return the start time of the oldest addition in progress, or a time in the future if there is none."""
    begun = []
    for path in catalogue.temporary.iterdir():
        if path.name.startswith(f".{ADDING}.") and path.name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):
                begun.append(path.lstat().st_mtime)
    return min((each for each in begun if time.time() - each < LONGEST_WORK), default=float("inf")) - SLACK


def set_aside(catalogue: Catalogue, unused: list[Path], marked: Marked) -> None:
    """Set blobs aside under unique names, then read the manifests again and remove or restore them."""
    catalogue.inside(catalogue.condemned).mkdir(exist_ok=True)
    aside = []
    for path in unused:
        with contextlib.suppress(FileNotFoundError):
            aside.append(path.rename(catalogue.condemned / f"{path.name}.{os.urandom(6).hex()}"))
    marked.read()
    judge(catalogue, aside, marked)


def judge(catalogue: Catalogue, aside: list[Path], marked: Marked) -> None:
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
