"""Verification of a catalogue: every file and every tensor is read and hashed."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.placing import placed
from ckpttool.core import plain_files
from ckpttool.core.errors import CkptError
from ckpttool.zoo.blobs import PIECE
from ckpttool.zoo.hashing import Follow, TensorHashes


@dataclass(frozen=True)
class Problem:
    """A problem of an entry: in a file, a tensor or the manifest."""

    entry: str
    what: str
    problem: str


@dataclass
class Checked:
    """The result of a verification: how much was read, and the problems."""

    entries: int = 0
    files: int = 0
    nbytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def check(catalogue: Catalogue, revisions: Iterable[tuple[str, int]]) -> Checked:
    """Verify revisions: their manifests, the content of their files, and the hashes of their tensors."""
    report, known = Checked(), dict[tuple[int, int], str]()
    for name, revision in revisions:
        report.entries += 1
        try:
            report.problems += _check_revision(catalogue, catalogue.manifest(name, revision), report, known)
        except (CkptError, OSError) as error:
            report.problems.append(Problem(f"{name}@{revision}", "files", str(error)))
    return report


def _check_revision(
    catalogue: Catalogue, manifest: Manifest, report: Checked, known: dict[tuple[int, int], str]
) -> Iterator[Problem]:
    """Yield the problems of a revision; `known` caches the hashes of shared files by inode."""
    folder = placed(catalogue, manifest)
    is_known = all(_inode(folder / file.path) in known for file in manifest.files)
    try:
        hashes = TensorHashes(checkpoint.open(folder / manifest.main) if manifest.tensors else {})
    except CkptError as error:
        yield Problem(str(manifest), manifest.main, str(error))
        return
    for file in manifest.files:
        blob = catalogue.blob(file.sha256)
        for path in [each for each in (blob, folder / file.path) if each != blob or blob.exists()]:
            inode = _inode(path)
            if inode not in known:
                known[inode] = _hash(path, hashes.follow(folder / file.path))
                report.files += 1
                report.nbytes += path.lstat().st_size
            if known[inode] != file.sha256:
                yield Problem(str(manifest), file.path, f"{path} differs from the bytes that were stored")
                return
    yield from () if is_known else _tensors(manifest, hashes)


def _inode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _tensors(manifest: Manifest, hashes: TensorHashes) -> Iterator[Problem]:
    found = hashes.digests()
    for row in manifest.tensors:
        if found.get(row.get("name", "")) != row.get("sha256"):
            yield Problem(str(manifest), str(row.get("name")), "its values have a different hash than in the manifest")


def _hash(path: Path, follow: Follow | None) -> str:
    total, at = hashlib.sha256(), 0
    with plain_files.opened(path) as file:
        while piece := file.read(PIECE):
            total.update(piece)
            if follow:
                follow(at, memoryview(piece))
            at += len(piece)
    return total.hexdigest()
