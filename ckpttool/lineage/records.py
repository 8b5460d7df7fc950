"""Records of how an output was made: the command, the files that it read, with hashes, and its edits."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ckpttool
from ckpttool.core.plain_files import is_file
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import V1_SHARD, BundleFiles, prefix_of
from ckpttool.formats.writing.staging import destination
from ckpttool.lineage.file_hash import hash_of
from ckpttool.remote.paths import with_urls, without_secrets

GRAPH = "graph"
"""The format of a source that is a graph."""
PATCH = "patch"
"""The format of a source that is a patch."""
MOST_RECORDS = 64
"""The maximal number of records in a chain; older ones are dropped, and counted."""
COMPUTING = ("numpy", "tensorflow")
"""The packages that compute; the version of a package is recorded if it was imported."""
UNHASHED = f"sha256:{64 * '0'}"
"""The hash of a source whose files were not read yet."""


@dataclass(frozen=True)
class Source:
    """A path as specified, its format, and the SHA-256 of the concatenated bytes of `files`.

    The files are relative to the path's folder. For TensorFlow's checkpoints only the index is hashed, and for a zip
    (PyTorch's files, `.npz`, `.keras`) only the directory at its end: these contain the checksums of all parts.
    """

    path: str
    format: str
    hash: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, format: str, tensors: Mapping[str, Tensor]) -> "Source":  # noqa: A002
        """Return the source for a checkpoint."""
        return cls.unhashed_checkpoint(path, format, tensors).hashed(path)

    @classmethod
    def unhashed_checkpoint(cls, path: Path, format: str, tensors: Mapping[str, Tensor]) -> "Source":  # noqa: A002
        """Return the source for a checkpoint, without the hash."""
        return cls.unhashed(path, format, _files(path, format, tensors))

    @classmethod
    def of_graph(cls, path: Path) -> "Source":
        """Return the source for the file of a graph."""
        return cls.unhashed(path, GRAPH, [path]).hashed(path)

    @classmethod
    def of_name(cls, name: str) -> "Source":
        """Return the source for a graph that is determined by its name, without a file."""
        return cls(name, GRAPH, f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", ())

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Source":
        """Return the object from the dictionary made by `as_json`.

        Raises:
            KeyError, TypeError: it is malformed.
        """
        return cls(
            str(document["path"]), str(document["format"]), str(document["hash"]), tuple(map(str, document["files"]))
        )

    @classmethod
    def unhashed(cls, path: Path, format: str, files: Iterable[Path]) -> "Source":  # noqa: A002
        """Return the source for files at a path, of which none is read yet."""
        names = tuple(os.path.relpath(file, path.parent) for file in files)
        return cls(without_secrets(with_urls(str(destination(path)))), format, UNHASHED, names)

    def hashed(self, path: Path) -> "Source":
        """Return the source with the hash of its files, which are relative to the folder of the path."""
        return replace(self, hash=hash_of(self.files_at(path)))

    def files_at(self, path: Path) -> list[Path]:
        """Return the paths of its files, which are relative to the folder of a path."""
        return [path.parent / name for name in self.files]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "files": list(self.files)}

    def now(self, beside: Path) -> str:
        """Return the state at the path, or at its name in the folder `beside`: `unchanged`, `changed since`, `gone`.

        A relative path is valid only in the folder in which the command was run, or if all files are in one folder. A
        source without a file does not change.
        """
        if not self.files and self == Source.of_name(self.path):
            return "unchanged"
        state = "gone"
        for folder in (Path(self.path).parent, beside):
            files = [folder / name for name in self.files]
            if files and all(file.is_file() for file in files):
                if hash_of(files) == self.hash:
                    return "unchanged"
                state = "changed since"
        return state


@dataclass(frozen=True)
class Record:
    """A command: its name and arguments, its sources, its edits, the versions of programs, and the date.

    `framework` is the one whose layouts the output's tensors have, None if unknown. `makers` contains the ids
    of the records that made the sources, None for a source without one; `plan` contains the steps that make the output
    again, with the indices of its sources, None if no plan can.
    """

    command: str
    arguments: tuple[str, ...]
    sources: tuple[Source, ...]
    steps: tuple[str, ...]
    versions: Mapping[str, str]
    date: str
    framework: str | None = None
    makers: tuple[str | None, ...] = ()
    plan: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        """The identity of the record: a hash of its contents."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Record":
        """Return the object from the dictionary made by `as_json`.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        sources = tuple(map(Source.from_json, document["sources"]))
        arguments, steps = tuple(map(str, document["arguments"])), tuple(map(str, document["steps"]))
        date, framework = str(document["date"]), document.get("framework")
        known = framework if isinstance(framework, str) else None
        makers = tuple(None if each is None else str(each) for each in document.get("makers", ()))
        told = (arguments, sources, steps, dict(document["versions"]), date, known)
        return cls(str(document["command"]), *told, makers, _plan(document.get("plan"), len(sources)))

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "command": self.command,
            "arguments": list(self.arguments),
            "sources": [source.as_json() for source in self.sources],
            "steps": list(self.steps),
            "versions": dict(self.versions),
            "date": self.date,
            "framework": self.framework,
            **({"makers": list(self.makers)} if self.makers else {}),
            **({"plan": dict(self.plan)} if self.plan is not None else {}),
        }


def _plan(document: Any, sources: int) -> Mapping[str, Any] | None:
    """Return the plan of a record, parsed; None if it has none.

    Raises:
        KeyError, TypeError, ValueError: it is malformed.
    """
    if document is None:
        return None
    places, tables = [int(place) for place in document["sources"]], [dict(table) for table in document["step"]]
    if not all(0 <= place < sources for place in places):
        raise ValueError("the plan refers to a source that is missing")
    return {"sources": places, "step": tables}


@dataclass(frozen=True)
class Chain:
    """Records, oldest first, and the number of older ones that were dropped."""

    records: tuple[Record, ...] = ()
    left_out: int = 0

    @classmethod
    def joined(cls, chains: Iterable["Chain"]) -> "Chain":
        """Return the records of several chains, each once, sorted by date."""
        records: list[Record] = []
        left_out = 0
        for chain in chains:
            records += [record for record in chain.records if record not in records]
            left_out = max(left_out, chain.left_out)
        return cls(tuple(sorted(records, key=lambda record: record.date)), left_out)

    def then(self, record: Record) -> "Chain":
        """Return the chain with another record."""
        records = (*self.records, record)
        return Chain(records[-MOST_RECORDS:], self.left_out + max(0, len(records) - MOST_RECORDS))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Chain":
        """Return the object from the dictionary made by `as_json`.

        Raises:
            KeyError, TypeError, ValueError: it is malformed.
        """
        return cls(tuple(map(Record.from_json, document["records"])), int(document["left_out"]))

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"records": [record.as_json() for record in self.records], "left_out": self.left_out}


def versions() -> dict[str, str]:
    """Return the versions of this program, of Python, and of the computing packages that were imported."""
    used = {name: sys.modules[name].__version__ for name in COMPUTING if name in sys.modules}
    return {"ckpttool": ckpttool.__version__, "python": platform.python_version(), **used}


def _files(path: Path, format: str, tensors: Mapping[str, Tensor]) -> Iterator[Path]:  # noqa: A002
    """Yield the files whose bytes identify a checkpoint: those with values, and those that say where these are."""
    kind, prefix = registry.get(format), prefix_of(path)
    index = BundleFiles.of(prefix).index
    if is_file(index):
        yield index
        return
    if kind.WHOLE_FOLDER and path.is_dir():
        yield from sorted(each for each in path.rglob("*") if is_file(each))
        return
    stored = {tensor.extent.path for tensor in tensors.values() if tensor.extent}
    indexes = {each for each in (path, *(path / name for name in kind.IN_FOLDER)) if is_file(each)}
    shards = {each for each in path.parent.iterdir() if V1_SHARD.sub("", each.name) == prefix.name and each.is_file()}
    yield from sorted(stored | indexes | shards)
