"""Batches of an iterable, which is consumed once and written to disk in bounded memory for random access.

The files are unlinked once they are complete, so that their space is freed when they are no longer used, or when the
process ends.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, WrongKind
from ckpttool.core.tensors import Array
from ckpttool.data.columns import as_text
from ckpttool.data.memory.arrays import as_array
from ckpttool.data.rows import Rows
from ckpttool.data.staging import RowWriter, array_file, mapped_arrays
from ckpttool.formats.writing.files import temporary_folder

_PAIR = 2
_BATCHES = "(x, y), arrays by name, or one array of rows"


class Batches:
    """Batches of rows, and the number of rows to take, which an endless iterable needs.

    Each batch is `(x, y)`, arrays by name, or one array; if its label is a single number, it is a single row. A
    `tf.data.Dataset`, a `DataLoader` of PyTorch and a generator are such iterables.

    >>> import numpy as np
    >>> endless = iter(lambda: (np.zeros((4, 2)), np.zeros(4)), None)
    >>> {name: rows.shape for name, rows in arrays_of(Batches(endless, rows=10)).items()}
    {'x': (10, 2), 'y': (10,)}
    """

    def __init__(self, batches: Iterable[Any], rows: int | None = None) -> None:
        """Store the iterable.

        Args:
            batches: The iterable of batches.
            rows: The number of rows to take; all of them by default.
        """
        self.batches, self.rows = batches, rows

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        """Yield the arrays of each batch by name, up to the number of rows to take.

        Raises:
            WrongKind: a batch is neither an array nor made of arrays.
            DataError: the iterable is endless, and the number of rows is not specified.
        """
        left = self.rows
        for batch in _items(self.batches, self.rows is None):
            named = _named(batch)
            if left is not None:
                named = {name: array[:left] for name, array in named.items()}
                left -= min((len(array) for array in named.values()), default=0)
            yield named
            if left == 0:
                return


def arrays_of(batches: Batches) -> dict[str, Rows]:
    """Return all rows of batches, mapped from unlinked files.

    Raises:
        DataError: there are none, or the arrays, shapes or dtypes of a batch differ from those of the first.
    """
    place = cache_folder() / "rows" / "batches"
    place.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(place) as folder:
        return _written(batches, folder)


def _written(batches: Batches, folder: Path) -> dict[str, Rows]:
    writers: dict[str, RowWriter] = {}
    texts: dict[str, list[Array]] = {}
    first: dict[str, str] = {}
    with ExitStack() as files:
        for number, batch in enumerate(batches):
            kinds = {name: _kind(array) for name, array in batch.items()}
            first = first or kinds
            if kinds != first:
                raise DataError(f"batches: number {number} has {_listed(kinds)}, the first has {_listed(first)}")
            sizes = {name: len(array) for name, array in batch.items()}
            if len(set(sizes.values())) > 1:
                uneven = ", ".join(f"{name} has {counted(size, 'row')}" for name, size in sizes.items())
                raise DataError(f"batches: number {number}: {uneven}; expected as many of each")
            for name, array in batch.items():
                if array.dtype.kind in "OSU":
                    texts.setdefault(name, []).append(as_text(array))
                    continue
                if name not in writers:
                    path = array_file(folder, name)
                    writers[name] = files.enter_context(RowWriter(path, array.shape[1:], array.dtype))
                writers[name].append(array)
    if not first:
        raise DataError("batches: there are none: the iterable is empty, or was already consumed")
    mapped = mapped_arrays(folder)
    return {name: np.concatenate(texts[name]) if name in texts else mapped[name] for name in first}


def _items(batches: Any, whole: bool) -> Iterator[Any]:
    """Iterate over batches; a sequence without an iterator, as in PyTorch, is indexed by number."""
    if whole and hasattr(batches, "cardinality") and int(batches.cardinality()) == -1:
        raise DataError("batches: the data set repeats indefinitely: give Batches(dataset, rows=...), or `take` some")
    if hasattr(batches, "as_numpy_iterator"):
        yield from batches.as_numpy_iterator()
    elif hasattr(batches, "__len__") and hasattr(batches, "__getitem__") and not isinstance(batches, (list, tuple)):
        yield from (batches[number] for number in range(len(batches))) if _by_number(batches) else batches
    else:
        yield from batches


def _by_number(batches: Any) -> bool:
    """Return whether batches can only be indexed by number, or their iterator is endless."""
    return not hasattr(batches, "__iter__") or any(each.__name__ == "PyDataset" for each in type(batches).__mro__)


def _named(batch: Any) -> dict[str, Array]:
    """Return the arrays of a batch by name: `x` and `y`, or the batch's own names."""
    pair = isinstance(batch, (tuple, list)) and len(batch) == _PAIR and not _is_number(batch[0])
    if isinstance(batch, (tuple, list)) and not pair and (isinstance(batch, tuple) or _nested(batch)):
        if len(batch) != 1:
            raise WrongKind(f"a batch is a {type(batch).__name__} of {len(batch)}, expected {_BATCHES}")
        batch = batch[0]
    inputs, labels = batch if pair else (batch, None)
    named = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
    if not all(_is_number(each) or hasattr(each, "__len__") or hasattr(each, "shape") for each in named.values()):
        raise WrongKind(f"a batch is of the type {type(batch).__name__}, expected {_BATCHES}")
    if labels is not None and _is_number(labels):
        named = {name: np.asarray(as_array(name, value))[np.newaxis] for name, value in named.items()}
        labels = np.asarray(labels)[np.newaxis]
    named |= {} if labels is None else {"y": labels}
    arrays = {str(name): as_array(str(name), value) for name, value in named.items()}
    flat = next((name for name, array in arrays.items() if not array.ndim), None)
    if flat is not None:
        raise DataError(f"batches: {flat} of a batch is a single number, expected rows; `.batch(200)` makes batches")
    return arrays


def _is_number(value: Any) -> bool:
    """Return whether a value is a single number or string."""
    return isinstance(value, (bool, int, float, str, bytes, np.generic)) or getattr(value, "shape", None) == ()


def _nested(batch: list[Any]) -> bool:
    return any(isinstance(each, Mapping) or hasattr(each, "shape") for each in batch)


def _kind(array: Array) -> str:
    return "text" if array.dtype.kind in "OSU" else f"rows {list(array.shape[1:])} of {array.dtype}"


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} with {kind}" for name, kind in kinds.items())
