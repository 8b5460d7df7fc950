"""Conversion of what a program may pass as data to sources: a path, or rows in memory in one of the common forms."""

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ckpttool.core.errors import DataError, WrongKind
from ckpttool.data.files import InMemory, Source
from ckpttool.data.memory.arrays import Arrays, is_array_like, rows_of
from ckpttool.data.memory.batches import Batches, arrays_of
from ckpttool.data.memory.frames import Frames, is_frame
from ckpttool.data.request import SPLITS

Data = str | PathLike[str] | InMemory | Batches | Iterable[Any]
"""A path, `(X, y)`, arrays by name, a data frame, batches, or any of these for each of `train`, `valid` and `test`."""
KINDS = (
    "a path, (X, y), ((x_train, y_train), (x_test, y_test)), {'x_train': ..., 'y_train': ...}, a pandas or polars "
    "frame, (frame, 'label column'), a tf.data.Dataset or another iterable of batches, or {'train': ..., 'valid': ...} "
    "of these"
)
_PAIR = 2


def as_source(data: Data) -> Source:
    """Return data as a source that can be read repeatedly; batches are written to disk, in files that are unlinked.

    >>> str(as_source("mnist.npz"))
    'mnist.npz'
    >>> import numpy as np
    >>> str(as_source((np.zeros((3, 2), np.float32), [0, 1, 0])))
    'arrays in memory: x [3, 2] float32, y [3] int64'

    Raises:
        WrongKind: the type of the data is not supported; the message names those that are.
        DataError: the rows of an array differ in shape, or batches differ in their arrays.
    """
    if isinstance(data, (str, PathLike)):
        return Path(data)
    if isinstance(data, InMemory):
        return data
    if isinstance(data, Mapping) and data and set(data) <= set(SPLITS):
        return _by_split({str(name): _checked(part) for name, part in data.items()})
    if isinstance(data, tuple) and len(data) == _PAIR and all(_is_pair(part) for part in data):
        return _by_split({"train": _checked(data[0]), "test": _checked(data[1])})
    return _one(_checked(data))


def _by_split(parts: Mapping[str, Any]) -> InMemory:
    """Return data that are given for each split as one source."""
    sources = {name: _one(part) for name, part in parts.items()}
    frames = {name: source.frames for name, source in sources.items() if isinstance(source, Frames)}
    if len(frames) == len(sources):
        return Frames({name: frame for name, held in frames.items() for frame in held.values()})
    arrays = {name: source.arrays for name, source in sources.items() if isinstance(source, Arrays)}
    if len(arrays) == len(sources):
        return Arrays({f"{key}_{name}": rows for name, held in arrays.items() for key, rows in held.items()})
    raise DataError(f"{', '.join(sources)} are of different kinds: expected frames for all of them, or for none")


def _one(data: Any) -> InMemory:
    """Return the source of data that are not divided into splits."""
    if is_frame(data):
        return Frames.of(data)
    if isinstance(data, tuple):
        return _pair(data)
    if isinstance(data, Mapping):
        return Arrays({str(name): rows_of(str(name), value) for name, value in data.items()})
    if is_array_like(data):
        return Arrays({"x": rows_of("x", data)})
    return Arrays(arrays_of(data if isinstance(data, Batches) else Batches(data)), "batches")


def _pair(data: tuple[Any, ...]) -> InMemory:
    """Return the source of inputs, by name if there are several, and labels, or the name of a frame's label column."""
    if len(data) not in (1, _PAIR):
        raise WrongKind(f"data are a tuple of length {len(data)}, expected inputs and labels: (X, y)")
    inputs, labels = (*data, None)[:2]
    if is_frame(inputs):
        return Frames.of(inputs, labels)
    if isinstance(inputs, tuple):
        raise WrongKind("the inputs are a tuple: name them by their placeholders, ({'left': ..., 'right': ...}, y)")
    named = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
    named |= {} if labels is None else {"y": labels}
    return Arrays({str(name): rows_of(str(name), value) for name, value in named.items()})


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == _PAIR


def _checked(data: Any) -> Any:
    """Refuse values that contain no rows.

    Raises:
        WrongKind: it is a number, a string, or not iterable.
    """
    known = is_frame(data) or isinstance(data, (Mapping, Batches)) or is_array_like(data)
    if isinstance(data, (str, bytes, PathLike)) or not (known or hasattr(data, "__iter__") or _has_items(data)):
        raise WrongKind(f"data are of the type {type(data).__name__}, expected {KINDS}")
    return data


def _has_items(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")
