"""Parts of features: rows that a worker computed, written where they belong by the worker itself.

A part is named by the entry's key and its range of rows, so one that is written twice is the same. What counts is what
the process that fills the entry collects, in order; it writes the manifest last.
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
"""The first of some rows that follow one another, and the first after them."""


@dataclass(frozen=True)
class Part:
    """Rows that were written: which, and the checksum of each tensor's."""

    start: int
    stop: int
    checksums: tuple[int, ...]


class Destination(Protocol):
    """Where workers write rows; a value that can be sent to them."""

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write rows, in a worker.

        Raises:
            CkptError: they cannot be written there.
        """

    def collect(self, part: Part, writer: Writer) -> None:
        """Make the next rows part of the entry, in the process that fills it."""


@dataclass(frozen=True)
class FolderParts:
    """Rows in their places in the files of an entry, in a folder that all workers see."""

    folder: str
    tensors: tuple[Stored, ...]
    rows: int

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write rows into the files, which the process that fills the entry has made, and put them on the disk."""
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
        """Count the rows as written."""
        writer.take(part.start, part.stop, part.checksums)


@dataclass(frozen=True)
class ServerParts:
    """Rows in files of their own on a server, below the address of an entry: `00000/000000000000-000000008192.npy`."""

    url: str

    def write(self, start: int, arrays: Mapping[str, Array]) -> Part:
        """Write a file for each tensor."""
        stop = start + len(next(iter(arrays.values())))
        pieces = [raw(array) for array in arrays.values()]
        tensors = stored({name: (array.dtype, array.shape[1:]) for name, array in arrays.items()})
        for tensor, piece in zip(tensors, pieces, strict=True):
            servers.write(self._file(tensor, start, stop), tensor.header(stop - start) + piece.tobytes())
        return Part(start, stop, tuple(crc.extend(0, piece) for piece in pieces))

    def collect(self, part: Part, writer: Writer) -> None:
        """Fetch the rows into the entry of this machine.

        Raises:
            CorruptCheckpoint: a file is missing, or not what was written.
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
        """Write the manifest, which makes the entry complete: what it holds, and in which parts."""
        ranges = [{"start": part.start, "stop": part.stop, "crc32c": list(part.checksums)} for part in parts]
        servers.write(f"{self.url}/{MANIFEST}", checked_json.dumps({**facts, "parts_of_rows": ranges}))

    def found(self) -> "OnServer | None":
        """Return what the manifest says; None where the entry is not complete, or the manifest is none."""
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
    """An entry on a server, as its manifest has it."""

    rows: int
    tensors: list[Stored]
    ranges: list[Part]
    parts: dict[str, str]
    versions: dict[str, str]

    @property
    def shapes(self) -> dict[str, RowType]:
        """The dtype of each tensor and the shape of a row, as a fill takes them."""
        return {tensor.name: (tensor.dtype, tensor.row_shape) for tensor in self.tensors}
