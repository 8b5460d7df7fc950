"""Parts of features: rows that workers compute and write to their destination themselves.

A part is identified by the entry's key and its range of rows, so writing it twice gives the same files. The process
that fills the entry collects the parts in order, which makes them count, and writes the manifest last.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.tensors import Array
from ckpttool.data.feature_files import RowType, Stored, facts_of, from_facts, raw, stored
from ckpttool.data.feature_writer import MANIFEST, Writer
from ckpttool.formats.wire import checked_json, crc
from ckpttool.remote import servers

Range = tuple[int, int]
"""The first row of a range, and the first row after it."""


@dataclass(frozen=True)
class Part:
    """A range of rows that was written, and the checksum of each tensor's bytes."""

    start: int
    stop: int
    checksums: tuple[int, ...]


class Destination(Protocol):
    """The destination to which workers write rows; it can be pickled."""

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write rows; this runs in a worker.

        Raises:
            CkptError: they cannot be written.
        """

    def collect(self, part: Part, writer: Writer) -> None:
        """Add the next rows to the entry; this runs in the process that fills it."""


@dataclass(frozen=True)
class FolderParts:
    """Rows at their positions in the files of an entry, in a folder that all workers share."""

    folder: str
    tensors: tuple[Stored, ...]
    rows: int

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write rows into the files, which the process that fills the entry has created, and sync them to disk."""
        pieces, stop = [raw(arrays[tensor.name]) for tensor in self.tensors], start
        for tensor, piece in zip(self.tensors, pieces, strict=True):
            path, stop = Path(self.folder, tensor.file), start + len(arrays[tensor.name])
            try:
                with path.open("r+b", buffering=0) as file:
                    file.seek(len(tensor.header(self.rows)) + start * tensor.row_bytes)
                    view = piece.data
                    while view:
                        view = view[file.write(view) :]
                    os.fsync(file.fileno())
            except OSError as error:
                seen = "`cache_dir` must be a folder that all workers can access, or an address such as s3://bucket/features"
                raise CkptError(f"{path}: a worker cannot write there: {error.strerror}; {seen}") from error
        return Part(start, stop, tuple(crc.extend(0, piece) for piece in pieces))

    def collect(self, part: Part, writer: Writer) -> None:
        """Record the rows as written."""
        writer.take(part.start, part.stop, part.checksums)


@dataclass(frozen=True)
class ServerParts:
    """Parts as separate files on a server, below the URL of an entry: `00000/000000000000-000000008192.npy`."""

    url: str

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write a file per tensor."""
        stop = start + len(next(iter(arrays.values())))
        pieces = [raw(array) for array in arrays.values()]
        tensors = stored({name: (array.dtype, array.shape[1:]) for name, array in arrays.items()})
        for tensor, piece in zip(tensors, pieces, strict=True):
            servers.write(self._file(tensor, start, stop), tensor.header(stop - start) + piece.tobytes())
        return Part(start, stop, tuple(crc.extend(0, piece) for piece in pieces))

    def collect(self, part: Part, writer: Writer) -> None:
        """Download the rows into the entry on this machine.

        Raises:
            CorruptCheckpoint: a file is missing, or differs from what was written.
        """
        arrays, rows = {}, part.stop - part.start
        for tensor, checksum in zip(writer.tensors, part.checksums, strict=True):
            url = self._file(tensor, part.start, part.stop)
            data = np.frombuffer(servers.read(url) or b"", np.uint8)[len(tensor.header(rows)) :]
            if len(data) != rows * tensor.row_bytes or crc.extend(0, data) != checksum:
                raise CorruptCheckpoint(f"{url} is missing or damaged")
            arrays[tensor.name] = data.view(tensor.dtype.numpy).reshape(rows, *tensor.row_shape)
        writer.append(arrays)

    def finish(self, facts: Mapping[str, Any], parts: list[Part]) -> None:
        """Write the manifest, which lists the tensors and the parts, and makes the entry complete."""
        ranges = [{"start": part.start, "stop": part.stop, "crc32c": list(part.checksums)} for part in parts]
        servers.write(f"{self.url}/{MANIFEST}", checked_json.dumps({**facts, "parts_of_rows": ranges}))

    def found(self) -> "OnServer | None":
        """Return the contents of the manifest; None if the entry is incomplete or the manifest invalid."""
        facts = facts_of(servers.read(f"{self.url}/{MANIFEST}") or b"") or {}
        try:
            ranges = [Part(each["start"], each["stop"], tuple(each["crc32c"])) for each in facts["parts_of_rows"]]
            tensors = [from_facts(each, number) for number, each in enumerate(facts["tensors"])]
            known = OnServer(facts["rows"], tensors, ranges, dict(facts["parts"]), dict(facts["versions"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        stops = [part.stop for part in ranges]
        return known if [0, *stops] == [*(part.start for part in ranges), known.rows] else None

    def _file(self, tensor: Stored, start: int, stop: int) -> str:
        return f"{self.url}/{tensor.number:05}/{start:012}-{stop:012}.npy"


@dataclass(frozen=True)
class OnServer:
    """An entry on a server, as described by its manifest."""

    rows: int
    tensors: list[Stored]
    ranges: list[Part]
    parts: dict[str, str]
    versions: dict[str, str]

    @property
    def shapes(self) -> dict[str, RowType]:
        """The dtype and row shape of each tensor, by name, as `fill` expects them."""
        return {tensor.name: (tensor.dtype, tensor.row_shape) for tensor in self.tensors}
