"""Compaction: tensors that are identical in several files are stored once, and the files become lists of pieces.

A tuned model shares its frozen layers with its base. A file is split at such tensors: its pieces are written first,
then the recipe that assembles it, and only then is the file removed. Manifests do not change.
"""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest, StoredFile
from ckpttool.catalogue.placing import placed
from ckpttool.catalogue.recipes import Piece, dumps, has_blob, pieces_of, recipe_path
from ckpttool.core import plain_files
from ckpttool.core.errors import CorruptCheckpoint, MissingFile, UnknownName
from ckpttool.formats.writing.files import finish
from ckpttool.formats.writing.system import sync_folder
from ckpttool.zoo.blobs import PIECE, at_work, keep, temporary_file, touch
from ckpttool.zoo.removal import clear

SMALLEST = 4096
"""The minimum size in bytes of a tensor that is stored as a separate blob."""


@dataclass(frozen=True)
class Held:
    """A tensor in a file: its offset, size in bytes, and hash."""

    offset: int
    nbytes: int
    sha256: str


@dataclass
class Compacted:
    """The number of files that were split, and the catalogue's size in bytes before and after."""

    files: int = 0
    before: int = 0
    after: int = 0


def compact(catalogue: Catalogue) -> Compacted:
    """Store tensors that several files share only once.

    Raises:
        CorruptCheckpoint: a manifest cannot be read, or a file is damaged.
    """
    found = Compacted(before=_bytes(catalogue))
    with at_work(catalogue):
        manifests = list(_manifests(catalogue))
        files = _tensors_by_file(catalogue, manifests)
        places = Counter(one for tensors in files.values() for one in {each.sha256 for each in tensors})
        for sha256, tensors in files.items():
            shared = [each for each in tensors if places[each.sha256] > 1 or has_blob(catalogue, each.sha256)]
            if shared:
                with contextlib.suppress(FileNotFoundError):  # split or collected by another process
                    _cut(catalogue, sha256, shared)
                    found.files += 1
        for manifest in manifests:
            if any(pieces_of(catalogue, file.sha256) is not None for file in manifest.files):
                clear(catalogue, catalogue.by_name(manifest.name, manifest.revision))
    found.after = _bytes(catalogue)
    return found


def _manifests(catalogue: Catalogue) -> Iterator[Manifest]:
    """Yield all manifests, except those that are removed concurrently."""
    for name in catalogue.names():
        for revision in catalogue.revisions(name):
            with contextlib.suppress(MissingFile):
                yield catalogue.manifest(name, revision)


def _bytes(catalogue: Catalogue) -> int:
    """Return the total size in bytes of blobs and by-name files, counting linked files once."""
    inodes = {}
    for folder in ("blobs", "by-name"):
        for place, _, names in os.walk(catalogue.root / folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = Path(place, name).lstat()
                    inodes[status.st_ino] = status.st_size
    return sum(inodes.values())


def _tensors_by_file(catalogue: Catalogue, manifests: list[Manifest]) -> dict[str, list[Held]]:
    """Return the contiguous, unencoded tensors of each uncompacted file, by the file's hash and in order of offset."""
    files = dict[str, list[Held]]()
    for manifest in manifests:
        others = [each for each in manifest.files if each.sha256 not in files]
        new = [each for each in others if pieces_of(catalogue, each.sha256) is None]
        if not (manifest.tensors and new):
            continue
        with contextlib.suppress(FileNotFoundError, UnknownName):  # the entry is being removed
            for sha256, held in _tensors_of(placed(catalogue, manifest), manifest, new):
                files.setdefault(sha256, []).append(held)
    return {sha256: sorted(tensors, key=lambda each: each.offset) for sha256, tensors in files.items()}


def _tensors_of(folder: Path, manifest: Manifest, files: list[StoredFile]) -> Iterator[tuple[str, Held]]:
    """Yield the contiguous, unencoded tensors in files of a revision, each with the hash of its file."""
    known = {row["name"]: row["sha256"] for row in manifest.tensors}
    hashes = {os.path.realpath(folder / each.path): each.sha256 for each in files}
    for name, tensor in checkpoint.open(folder / manifest.main).items():
        place = tensor.extent and hashes.get(os.path.realpath(tensor.extent.path))
        if tensor.extent and place and tensor.extent.nbytes >= SMALLEST and name in known:
            yield place, Held(tensor.extent.offset, tensor.extent.nbytes, known[name])


def _ranges(tensors: list[Held], size: int) -> Iterator[tuple[int, int, str | None]]:
    """Yield start and end of each piece of a file, and its hash if it is a tensor's, else None."""
    at = 0
    for held in tensors:
        if held.offset < at:
            continue  # overlaps the previous tensor
        if held.offset > at:
            yield at, held.offset, None
        yield held.offset, held.offset + held.nbytes, held.sha256
        at = held.offset + held.nbytes
    if at < size:
        yield at, size, None


def _cut(catalogue: Catalogue, sha256: str, tensors: list[Held]) -> None:
    """Write the pieces of a file and its recipe, then remove the file.

    Raises:
        CorruptCheckpoint: the file is damaged, or differs from the hashes in its manifest.
    """
    blob = catalogue.inside(catalogue.blob(sha256))
    total, pieces = hashlib.sha256(), list[Piece]()
    with plain_files.opened(blob) as reading:
        ranges = list(_ranges(tensors, os.fstat(reading.fileno()).st_size))
        for start, end, expected in ranges:
            with temporary_file(catalogue, "piece") as (temporary, file):
                own = hashlib.sha256()
                for at in range(start, end, PIECE):
                    part = reading.read(min(PIECE, end - at))
                    total.update(part)
                    own.update(part)
                    file.write(part)
                if expected not in (None, own.hexdigest()):
                    raise CorruptCheckpoint(
                        f"{blob}: the bytes at {start} have a different hash than in their manifest"
                    )
                pieces.append(Piece(own.hexdigest(), end - start))
                keep(catalogue, temporary, file, own.hexdigest())
    if total.hexdigest() != sha256:
        raise CorruptCheckpoint(
            f"{blob} differs from the bytes that were stored: `ckpttool zoo verify` names the entry"
        )
    _write_recipe(catalogue, sha256, pieces)
    if all(has_blob(catalogue, each.sha256) for each in pieces):  # else a piece was collected; the file is kept
        blob.unlink()
        sync_folder(blob.parent)


def _write_recipe(catalogue: Catalogue, sha256: str, pieces: list[Piece]) -> None:
    path: Path = catalogue.inside(recipe_path(catalogue, sha256))
    with temporary_file(catalogue, "recipe") as (temporary, file):
        file.write(dumps(pieces))
        os.fchmod(file.fileno(), 0o444)
        finish(file)
        temporary.replace(path)
    sync_folder(path.parent)
    touch(path)
