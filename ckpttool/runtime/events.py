"""Event files for TensorBoard: scalars, histograms and a graph, written by TensorFlow's own record writer.

A file is a sequence of TFRecords, each an `Event` message; the first contains the version of the format.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto
"""

import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.graph.core import Graph
from ckpttool.runtime.configure import tensorflow

PATTERN = "events.out.tfevents.*"
VERSION = "brain.Event:2"
BUCKETS = 30


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder, in the order in which TensorBoard reads them."""
    return sorted(folder.glob(PATTERN))


def read_events(folder: Path) -> Iterator[Any]:
    """Yield the events of a folder; incomplete events at the end of a truncated file are skipped."""
    tf = tensorflow()
    for path in event_files(folder):
        try:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                yield tf.compat.v1.Event.FromString(record)
        except tf.errors.DataLossError:
            continue


class EventWriter:
    """Writes a new event file in a folder; each event is flushed before the next."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, and a file that TensorBoard reads after the existing ones."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PATTERN.replace("*", f"{time.time():.6f}.{platform.node()}")
        self._messages = tensorflow().compat.v1
        self._writer = tensorflow().io.TFRecordWriter(str(path))
        self._write(file_version=VERSION)

    def graph(self, graph: Graph) -> None:
        """Write a graph."""
        self._write(graph_def=graph.meta.graph_def.SerializeToString())

    def summary(self, step: int, scalars: Mapping[str, float], arrays: Mapping[str, Array]) -> None:
        """Write the scalars, and the histograms of arrays, of one step, as a single event."""
        value = self._messages.Summary.Value
        values = [value(tag=tag, simple_value=number) for tag, number in scalars.items()]
        for tag, array in arrays.items():
            if facts := histogram(array):
                values.append(value(tag=tag, histo=self._messages.HistogramProto(**facts)))
        self._write(step=step, summary=self._messages.Summary(value=values))

    def _write(self, **what: Any) -> None:
        self._writer.write(self._messages.Event(wall_time=time.time(), **what).SerializeToString())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def histogram(array: Array) -> dict[str, Any] | None:
    """Return the fields of a `HistogramProto` of the finite numbers; None if there are none.

    >>> histogram(np.float32([0, 0, 3]))["bucket"][::29], histogram(np.float32([2, 2]))["bucket"]
    ([2, 1], [2])
    """
    numbers = array.astype(np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return None
    low, high = float(numbers.min()), float(numbers.max())
    # the range of nearly equal numbers cannot be divided
    buckets = BUCKETS if high - low > 1e-9 * max(abs(low), abs(high)) else 1
    edges = np.linspace(low, high, buckets + 1)
    counts = np.histogram(numbers, buckets, (low, high))[0] if buckets > 1 else [numbers.size]
    sums = {"sum": float(numbers.sum()), "sum_squares": float(np.square(numbers).sum())}
    limits = {"bucket_limit": edges[1:].tolist(), "bucket": list(map(int, counts))}
    return {"min": low, "max": high, "num": numbers.size, **sums, **limits}
