"""Rows: the common interface of arrays, mapped files and HDF5, so that data sets can be larger than memory."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import prod
from typing import Any, Protocol

import numpy as np

from ckpttool.core.tensors import Array

IN_MEMORY = 1 << 30
"""Maximum size in bytes of an input that is kept in memory after fitting; rows of a larger one are fitted on demand."""


class Rows(Protocol):
    """Rows of one shape and dtype, which are read on demand; NumPy's arrays and memory maps have this interface."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, followed by the shape of a row."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""

    @property
    def nbytes(self) -> int:
        """The size of all rows in bytes."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: Any) -> Array:
        """Return the rows of a slice, or of an array of row numbers in its order."""


AT_ONCE = 64 << 20
"""Bytes of stored rows that are converted at a time."""


class ShapedRows:
    """The base class of rows that are not an array; their number, shape and dtype are known before they are read."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Store the shape (the number of rows, followed by the shape of a row) and the NumPy dtype."""
        self.shape, self.dtype = shape, np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """The size of all rows in bytes."""
        return prod(self.shape) * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]


class LazyRows(ShapedRows):
    """Rows that are made from other rows on demand, `AT_ONCE` bytes of these at a time."""

    def __init__(self, source: Rows, row: tuple[int, ...], dtype: Any, make: Callable[[Array], Array]) -> None:
        """Store the source, and `make`, which converts stacked rows of it to rows of this shape and dtype."""
        self._source, self._make = source, make
        super().__init__((len(source), *row), dtype)

    def __getitem__(self, rows: Any) -> Array:
        count = max(1, AT_ONCE // max(1, self._source.nbytes // max(1, len(self))))
        asked = len(range(*rows.indices(len(self)))) if isinstance(rows, slice) else len(rows)
        if asked <= count:
            return self._make(np.asarray(self._source[rows]))
        made, numbers = np.empty((asked, *self.shape[1:]), self.dtype), np.arange(len(self))[rows]
        for start in range(0, asked, count):
            some = numbers[start : start + count]
            made[start : start + count] = self._make(np.asarray(self._source[some]))
        return made


class RowRange(ShapedRows):
    """Consecutive rows of a source."""

    def __init__(self, source: Rows, start: int, stop: int) -> None:
        """Select the rows from `start` to before `stop`."""
        self._source, self._start = source, start
        super().__init__((stop - start, *source.shape[1:]), source.dtype)

    def __getitem__(self, rows: Any) -> Array:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self._source[slice(self._start + start, self._start + stop, step)]
        return self._source[np.asarray(rows) + self._start]


class ChosenRows(ShapedRows):
    """Rows selected by their numbers in the source."""

    def __init__(self, source: Rows, numbers: Array) -> None:
        """Store the source and the numbers, in the order of the rows."""
        self._source, self._numbers = source, numbers
        super().__init__((len(numbers), *source.shape[1:]), source.dtype)

    def __getitem__(self, rows: Any) -> Array:
        return self._source[self._numbers[rows]]


class JoinedRows(ShapedRows):
    """The concatenated rows of several sources of the same shape and dtype."""

    def __init__(self, *sources: Rows) -> None:
        """Store the sources in their order."""
        self._sources, self._ends = sources, np.cumsum([len(source) for source in sources])
        super().__init__((int(self._ends[-1]), *sources[0].shape[1:]), sources[0].dtype)

    def __getitem__(self, rows: Any) -> Array:
        numbers = np.arange(len(self))[rows]
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for source, end in zip(self._sources, self._ends, strict=True):
            within = (numbers >= end - len(source)) & (numbers < end)
            if within.any():
                found[within] = source[numbers[within] - (end - len(source))]
        return found


def chosen(source: Rows, numbers: Array) -> Rows:
    """Return the rows with ascending numbers; consecutive rows of an array are a view."""
    start, stop = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, 0)
    if stop - start != len(numbers):
        return ChosenRows(source, numbers)
    return source[start:stop] if isinstance(source, np.ndarray) else RowRange(source, start, stop)


def joined(first: Rows, second: Rows) -> Rows:
    """Concatenate rows of the same shape and dtype; two arrays give an array."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    return JoinedRows(first, second)


def pieces(rows: Rows, piece: int, made_of: Rows | None = None) -> Any:
    """Yield the first row's number and the rows of each piece of about `piece` bytes, of them or of their source."""
    nbytes = max(rows.nbytes, made_of.nbytes if made_of is not None else 0)
    count = max(1, piece // max(1, nbytes // max(1, len(rows))))
    for start in range(0, len(rows), count):
        yield start, np.asarray(rows[start : start + count])


def batched(items: Iterable[Array], count: int) -> Iterator[list[Array]]:
    """Yield lists of `count` items; the last may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, count)):
        yield group
