"""Filling a feature cache: by this process, or by workers that write rows where they belong, in a folder or a bucket.

An entry on a server is there for all machines; what is used of it lies on each of them too, as an entry of its own.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Array
from ckpttool.data.feature_parts import Destination, FolderParts, Part, Range, ServerParts
from ckpttool.data.feature_store import Entry, FeatureStore, Writer, feature_bytes
from ckpttool.executors.executor import Executor, Factory
from ckpttool.lineage.records import versions
from ckpttool.remote.paths import is_url, whole_url
from ckpttool.training.callbacks.callback import Callback

BATCH_BYTES = 32 << 20
"""Bytes of rows that pass through the frozen layers at once."""
FEW = 8
"""Rows that are computed before the others, to see what comes of them."""
TRIED = 128
"""Rows that are computed here to say what workers will need."""
TURNS = 4
"""How often each worker gets rows at least, so that the last ones to finish are not long alone."""


@dataclass(frozen=True)
class Estimate:
    """What a fill will cost: bytes on disk, and seconds as measured on the first rows."""

    rows: int
    bytes: int
    seconds: float


class Computes(Protocol):
    """What features are computed by: so many rows, of which each is fed `row_bytes`; `parts` are those of the key."""

    rows: int
    row_bytes: int

    @property
    def parts(self) -> Mapping[str, str]:
        """What the key is made of."""

    def compute(self, rows: Array) -> dict[str, Array]:
        """Return the features of some rows."""


@dataclass(frozen=True)
class Elsewhere:
    """Workers that compute features: `factory` makes the function of a worker, which writes to a destination."""

    executor: Executor
    factory: Callable[[Destination], Factory]

    def written(self, destination: Destination, ranges: Iterable[Range]) -> Iterator[Part]:
        """Yield the parts in order as they are written."""
        return self.executor.map_in_order(self.factory(destination), ranges)


def writing(features: Computes, destination: Destination) -> Callable[[Range], Part]:
    """Return what computes rows and writes them."""
    return lambda rows: destination.write(rows[0], features.compute(np.arange(*rows)))


def entry_of(root: str | Path | None, key: str) -> tuple[Entry, ServerParts | None]:
    """Return where the features of a key lie on this machine, and on which server, if the root is an address."""
    if root is not None and is_url(root):
        return FeatureStore(cache_folder()).entry(key), ServerParts(f"{whole_url(root).rstrip('/')}/{key}")
    return FeatureStore(Path(root).absolute() if root else cache_folder()).entry(key), None


def fill(
    features: Computes, entry: Entry, server: ServerParts | None, elsewhere: Elsewhere | None, callback: Callback
) -> None:
    """Compute all rows, some at a time; what that will cost is known from the first of them."""
    workers = elsewhere.executor.workers if elsewhere else 1
    size = min(max(1, BATCH_BYTES // max(1, features.row_bytes)), features.rows)
    if workers > 1:
        size = min(size, -(-features.rows // (TURNS * workers)))
    few = features.compute(np.arange(min(FEW, features.rows)))  # also traces, which is no measure of the rest
    shapes = {name: (array.dtype, array.shape[1:]) for name, array in few.items()}
    with entry.fill(shapes, features.rows, features.parts, versions(), resume=server is None) as writer:
        starts = range(writer.resume_row, features.rows, size)
        ranges = [(start, min(start + size, features.rows)) for start in starts]
        began, parts = time.perf_counter(), list[Part]()

        def estimate(rows: int) -> None:
            seconds = (time.perf_counter() - began) * features.rows / rows / workers
            callback.on_cache_estimate(Estimate(features.rows, feature_bytes(shapes, features.rows), seconds))

        if elsewhere:  # workers have to start, which is no measure of the rest either
            features.compute(tried := np.arange(min(TRIED, features.rows)))
            estimate(len(tried))
        for part in _filled(features, writer, ranges, server, elsewhere):
            if not elsewhere and writer.row == ranges[0][1]:
                estimate(writer.row - ranges[0][0])
            callback.on_cache_progress(writer.row, features.rows)
            parts += [part] if part else []
        writer.finish()
    if server is not None:
        server.finish(entry.manifest or {}, parts)


def _filled(
    features: Computes,
    writer: Writer,
    ranges: list[Range],
    server: ServerParts | None,
    elsewhere: Elsewhere | None,
) -> Iterator[Part | None]:
    """Fill an entry, range by range; yield what was written for it besides."""
    if server is None and elsewhere is None:
        for rows in ranges:
            writer.append(features.compute(np.arange(*rows)))
            yield None
        return
    destination = server or FolderParts(str(writer.path), writer.tensors, writer.rows)
    written = elsewhere.written(destination, ranges) if elsewhere else map(writing(features, destination), ranges)
    for part in written:
        destination.collect(part, writer)
        yield part


def fetched(entry: Entry, server: ServerParts, callback: Callback) -> bool:
    """Fetch the features that a server has; say whether it has them, and whole."""
    if (found := server.found()) is None:
        return False
    try:
        with entry.fill(found.shapes, found.rows, found.parts, found.versions, resume=False) as writer:
            for part in found.ranges:
                server.collect(part, writer)
                callback.on_cache_progress(part.stop, writer.rows)
            writer.finish()
    except CorruptCheckpoint as damage:
        callback.on_cache_damage(damage)
        return False
    return True


def share(entry: Entry, arrays: Mapping[str, Array], server: ServerParts) -> None:
    """Write the features of this machine to a server that does not have them."""
    if server.found() is None:
        rows = len(next(iter(arrays.values())))
        size = max(1, BATCH_BYTES * rows // max(1, entry.nbytes))
        ranges = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        parts = [server.write(start, {name: arrays[name][start:stop] for name in arrays}) for start, stop in ranges]
        server.finish(entry.manifest or {}, parts)
