"""Columns: named arrays of a data file, and selections of their rows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.rows import JoinedRows, Rows, chosen


@dataclass(frozen=True, eq=False)
class Column:
    """A stored array, or its rows with the given `numbers`; the path and the name are for messages."""

    path: Path
    name: str
    array: Rows
    numbers: Array | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"

    @property
    def count(self) -> int:
        """The number of rows; 0 for a scalar."""
        return len(self.array) if self.array.shape else 0

    def rows(self, numbers: Array) -> "Column":
        """Return the rows with the given ascending numbers, which are read on demand."""
        own = numbers if self.numbers is None else self.numbers[numbers]
        return replace(self, array=chosen(self.array, numbers), numbers=own)

    def followed_by(self, other: "Column") -> "Column":
        """Return the rows of both columns, which are read on demand.

        Raises:
            DataError: the shapes or dtypes of their rows differ.
        """
        if (self.array.shape[1:], self.array.dtype) != (other.array.shape[1:], other.array.dtype):
            types = [
                f"{each.name} has rows {list(each.array.shape[1:])} of {each.array.dtype}" for each in (self, other)
            ]
            raise DataError(f"{self.path}: {', '.join(types)}; expected the same shape and dtype for both")
        return Column(self.path, f"{self.name}, {other.name}", JoinedRows(self.array, other.array))

    def encoded(self) -> Self:
        """Return a column of text as UTF-8 bytes of fixed length."""
        texts = np.asarray(self.array[:])
        return replace(self, array=np.char.encode(as_text(texts.reshape(-1)), "utf-8").reshape(texts.shape))

    def row(self, place: int) -> int:
        """Return the number of a row in the stored array."""
        return place if self.numbers is None else int(self.numbers[place])


def as_text(values: Array) -> Array:
    """Return an array of bytes or strings as strings.

    >>> as_text(np.array([b"cat", "dog"], object)).tolist()
    ['cat', 'dog']
    """
    if values.dtype.kind == "O":
        return np.array([each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in values])
    return np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values


def is_number(text: str) -> bool:
    """Return whether a text is a number or empty."""
    try:
        float(text)
    except ValueError:
        return not text  # a missing value is reported where it is read
    return True
