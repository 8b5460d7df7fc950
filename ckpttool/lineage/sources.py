"""A source: what was read to make an output, and the hash that tells it from what may lie there later."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Tensor
from ckpttool.formats.reading import archive
from ckpttool.formats.tensorflow.prefix import V1_SHARD, BundleFiles, prefix_of
from ckpttool.remote import sparse_files
from ckpttool.remote.paths import spoken, without_secrets

GRAPH = "graph"
"""What stands for a format where the source is a graph."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class Source:
    """A path as it was given, its format, and the SHA-256 of the bytes of `files`, one after the other.

    The files are named relative to the path's folder. Of TensorFlow's checkpoints it is the index alone, and of a zip
    (PyTorch's files, `.npz`, `.keras`) the directory at its end, which have a checksum of every part: no more need be
    read.
    """

    path: str
    format: str
    hash: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, format: str, tensors: Mapping[str, Tensor]) -> "Source":  # noqa: A002
        """Return the source that a checkpoint is."""
        return cls._of_files(path, format, list(_files(prefix_of(path), tensors)))

    @classmethod
    def of_graph(cls, path: Path) -> "Source":
        """Return the source that the file of a graph is."""
        return cls._of_files(path, GRAPH, [path])

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Source":
        """Read what `as_json` gave.

        Raises:
            KeyError, TypeError: it is none.
        """
        return cls(
            str(document["path"]), str(document["format"]), str(document["hash"]), tuple(map(str, document["files"]))
        )

    @classmethod
    def _of_files(cls, path: Path, format: str, files: list[Path]) -> "Source":  # noqa: A002
        names = tuple(os.path.relpath(file, path.parent) for file in files)
        return cls(without_secrets(spoken(str(path))), format, _hash(files), names)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {**asdict(self), "files": list(self.files)}

    def now(self, beside: Path) -> str:
        """Say what is at the path now, or under its name in the folder `beside`: `unchanged`, `changed since`, `gone`.

        A relative path means what it did only where the command was run, or where all lies in one folder.
        """
        state = "gone"
        for folder in (Path(self.path).parent, beside):
            files = [folder / name for name in self.files]
            if files and all(file.is_file() for file in files):
                if self._is_of(files):
                    return "unchanged"
                state = "changed since"
        return state

    def _is_of(self, files: list[Path]) -> bool:
        """Say whether files have the bytes that were hashed; a zip that is damaged by now has others."""
        try:
            return _hash(files) == self.hash
        except CorruptCheckpoint:
            return False


def _files(path: Path, tensors: Mapping[str, Tensor]) -> Iterator[Path]:
    """Yield the files whose bytes tell a checkpoint from every other."""
    index = BundleFiles.of(path).index
    if index.is_file():
        yield index
        return
    stored = {tensor.extent.path for tensor in tensors.values() if tensor.extent}
    shards = {file for file in path.parent.iterdir() if V1_SHARD.sub("", file.name) == path.name and file.is_file()}
    yield from sorted(stored | shards)


def _hash(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        begin = archive.directory_of(file) if archive.is_zip(file) else 0
        with sparse_files.opened(file) as opened:
            opened.seek(begin)
            while piece := opened.read(_PIECE):
                total.update(piece)
    return f"sha256:{total.hexdigest()}"
