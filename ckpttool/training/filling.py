"""Filling a feature cache: in this process, or by workers that write their rows in place, in a folder or a bucket.

An entry on a server is shared by all machines; each machine keeps a local copy of what it uses.
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
from ckpttool.training.callbacks.callback import Callback, Estimate

BATCH_BYTES = 32 << 20
"""Bytes of input rows per batch through the frozen layers."""
FEW = 8
"""Number of rows that are computed first, to determine the shapes and the speed."""
TRIED = 128
"""Number of rows that are computed locally to estimate what workers will need."""
TURNS = 4
"""Minimum number of ranges per worker, so that all finish at about the same time."""


class Computes(Protocol):
    """Computes features of `rows` rows, each fed `row_bytes` bytes; `parts` are the hashes of the key."""

    rows: int
    row_bytes: int

    @property
    def parts(self) -> Mapping[str, str]:
        """The hashes that the key is made of."""

    def compute(self, rows: Array) -> dict[str, Array]:
        """Return the features of some rows."""


@dataclass(frozen=True)
class Elsewhere:
    """Workers that compute features: `factory` makes a worker's function, which writes to a destination."""

    executor: Executor
    factory: Callable[[Destination], Factory]

    def written(self, destination: Destination, ranges: Iterable[Range]) -> Iterator[Part]:
        """Yield the written parts in order."""
        return self.executor.map_in_order(self.factory(destination), ranges)


def writing(features: Computes, destination: Destination) -> Callable[[Range], Part]:
    """Return the function that computes rows and writes them."""
    return lambda rows: destination.write(rows[0], features.compute(np.arange(*rows)))


def entry_of(root: str | Path | None, key: str) -> tuple[Entry, ServerParts | None]:
    """Return the local entry of a key, and the server's store if the root is a URL."""
    if root is not None and is_url(root):
        return FeatureStore(cache_folder()).entry(key), ServerParts(f"{whole_url(root).rstrip('/')}/{key}")
    return FeatureStore(Path(root).absolute() if root else cache_folder()).entry(key), None


def fill(
    features: Computes,
    entry: Entry,
    server: ServerParts | None,
    elsewhere: Elsewhere | None,
    callback: Callback,
    again: bool = False,
) -> None:
    """Compute all rows in batches; the cost is estimated from the first ones.

    Raises:
        EntryBusy: another process is filling the entry, or has filled it and it is not to be filled `again`.
    """
    workers = elsewhere.executor.workers if elsewhere else 1
    size = min(max(1, BATCH_BYTES // max(1, features.row_bytes)), features.rows)
    if workers > 1:
        size = min(size, -(-features.rows // (TURNS * workers)))
    few = features.compute(np.arange(min(FEW, features.rows)))  # includes tracing, so it is not representative
    shapes = {name: (array.dtype, array.shape[1:]) for name, array in few.items()}
    with entry.fill(shapes, features.rows, features.parts, versions(), resume=server is None, again=again) as writer:
        starts = range(writer.resume_row, features.rows, size)
        ranges = [(start, min(start + size, features.rows)) for start in starts]
        began, parts = time.perf_counter(), list[Part]()

        def estimate(rows: int) -> None:
            seconds = (time.perf_counter() - began) * features.rows / rows / workers
            callback.on_cache_estimate(Estimate(features.rows, feature_bytes(shapes, features.rows), seconds))

        if elsewhere:  # includes the start of workers, so it is not representative
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
    """Fill an entry, range by range; yield each written part, None for rows appended here."""
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
    """Fetch an entry from a server; return whether the server has it intact."""
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
    """Upload a local entry to a server that does not have it."""
    if server.found() is None:
        rows = len(next(iter(arrays.values())))
        size = max(1, BATCH_BYTES * rows // max(1, entry.nbytes))
        ranges = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        parts = [server.write(start, {name: arrays[name][start:stop] for name in arrays}) for start, stop in ranges]
        server.finish(entry.manifest or {}, parts)
