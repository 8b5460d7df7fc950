"""Random access to the rows of a tensor, in its file or in memory."""

from collections.abc import Iterator
from math import prod
from typing import Protocol

import numpy as np

from ckpttool.core.tensors import Array, Extent, Tensor
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.surgery.blocks import ELEMENTS, arrays


class Rows(Protocol):
    """The rows of a matrix, the first dimension of a tensor."""

    def take(self, numbers: Array) -> Array:
        """Return some rows [count, columns], in the tensor's dtype."""

    def finish(self) -> None:
        """Check that the file has not changed since it was opened."""


def rows_of(tensor: Tensor, scattered: bool = False) -> Rows:
    """Return access to the rows of a tensor; rows of a tensor stored uncompressed in a file are read on demand.

    If `scattered` rows will be taken, the file is read in order first: then the system has them in memory, while a disk
    takes some twenty times as long to find each of them.

    >>> rows_of(Tensor.of("w", np.array([[1.0, 2.0], [3.0, 4.0]]))).take(np.array([1, 1, 0])).tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]

    Raises:
        CorruptCheckpoint: its checksum does not match.
    """
    if tensor.extent is None:
        return _RowsInMemory(tensor)
    return _RowsInFile(tensor, tensor.extent, scattered)


class _RowsInMemory:
    def __init__(self, tensor: Tensor) -> None:
        self._array = tensor.read().reshape(tensor.shape[0], -1)

    def take(self, numbers: Array) -> Array:
        taken: Array = self._array[numbers]
        return taken

    def finish(self) -> None:
        pass


class _RowsInFile:
    def __init__(self, tensor: Tensor, extent: Extent, scattered: bool) -> None:
        if scattered or extent.crc is not None or extent.require_whole is not None:
            for _ in arrays(tensor):  # the checksum covers all rows, so all are read once to verify it
                pass
        self._file = CheckpointFile(extent.path)
        self._extent, self._dtype = extent, tensor.dtype.numpy
        self._columns = prod(tensor.shape[1:])

    def take(self, numbers: Array) -> Array:
        """Read runs of consecutive rows with one read each, in file order."""
        ordered = np.unique(numbers)
        size = self._columns * self._dtype.itemsize
        breaks = np.flatnonzero(np.diff(ordered) != 1) + 1
        raw = b"".join(
            self._file.piece(len(run) * size, self._extent.offset + int(run[0]) * size)
            for run in np.split(ordered, breaks)
            if len(run)
        )
        rows = np.frombuffer(raw, self._dtype.newbyteorder("<")).astype(self._dtype, copy=False)
        taken: Array = rows.reshape(len(ordered), self._columns)[np.searchsorted(ordered, numbers)]
        return taken

    def finish(self) -> None:
        self._file.require_unchanged(self._extent.stamp)


def slabs(tensor: Tensor, axis: int) -> Iterator[Array]:
    """Yield a tensor in blocks of shape [count, rows, columns]: the axes before, at and after `axis`.

    >>> [part.shape for part in slabs(Tensor.of("w", np.zeros((4, 5, 2))), 1)]
    [(4, 5, 2)]
    """
    rows, columns = tensor.shape[axis], prod(tensor.shape[axis + 1 :])
    size = rows * columns * max(1, ELEMENTS // max(1, rows * columns))
    held: list[Array] = []
    count = 0
    for array in arrays(tensor):
        at = 0
        while at < len(array):
            part = array[at : at + size - count].copy()
            held.append(part)
            at, count = at + len(part), count + len(part)
            if count == size:
                yield np.concatenate(held).reshape(-1, rows, columns)
                held, count = [], 0
    if count:
        yield np.concatenate(held).reshape(-1, rows, columns)
