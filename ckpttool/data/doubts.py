"""Notes about validation rows whose scores may say little about new data."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.counts import counted
from ckpttool.core.names import listed
from ckpttool.core.tensors import PIECE, Array
from ckpttool.data.drawing import classes_of
from ckpttool.data.rows import Rows, batched, pieces

FEW = 20
"""A smaller number of validation rows is reported."""
_AT_ONCE = 8
"""Number of pieces of rows that are in memory at a time."""


def few_rows(rows: int) -> list[str]:
    """Return a note about the number of validation rows, if it is small.

    >>> few_rows(20), few_rows(5)
    ([], ['5 rows in the validation set, fewer than 20: one of them is 20% of the accuracy'])
    """
    if rows >= FEW:
        return []
    return [
        f"{counted(rows, 'row')} in the validation set, fewer than {FEW}: one of them is {1 / rows:.0%} of the accuracy"
    ]


def missing_classes(train: Array | None, valid: Array | None) -> list[str]:
    """Return a note about classes that have training rows and no validation rows.

    >>> missing_classes(np.array([0, 1, 2, 2]), np.array([0, 2]))
    ['no validation row has the label 1']
    """
    if train is None or valid is None or classes_of(train, train.dtype.kind in "iu") is None:
        return []
    missing = sorted(present(train) - present(valid))
    return [f"no validation row has the label {listed([str(each) for each in missing])}"] if missing else []


def shared_groups(train: Array, valid: Array, name: str) -> list[str]:
    """Return a note about groups that have both training and validation rows.

    >>> shared_groups(np.array(["a", "b"]), np.array(["b", "c"]), "patient")
    ['1 of 2 groups by patient has training rows too']
    """
    of, shared = len(np.unique(valid)), len(np.intersect1d(train, valid))
    verb = "has" if shared == 1 else "have"
    return [f"{shared} of {counted(of, 'group')} by {name} {verb} training rows too"] if shared else []


def present(labels: Array) -> set[int]:
    """Return the labels that occur: class numbers, or the indices of multi-hot labels.

    >>> present(np.array([[0, 0, 1], [1, 0, 0]])), present(np.array([3, 3]))
    ({0, 2}, {3})
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        return set(np.flatnonzero(labels.max(axis=0) > 0.5).tolist())
    return {int(each) for each in np.unique(labels)}


def repeated_rows(train: Iterable[Rows], valid: Iterable[Rows]) -> list[str]:
    """Return a note about validation rows with the same inputs as a training row, compared by hash.

    >>> repeated_rows([np.array([[1.0, 2.0], [3.0, 4.0]])], [np.array([[3.0, 4.0], [3.0, 5.0]])])
    ['1 of 2 validation rows is a training row too, by its inputs: they are less representative of new data']
    """
    known, judged = (np.sort(sum_of_hashes(list(each))) for each in (train, valid))
    places = np.minimum(np.searchsorted(known, judged), len(known) - 1)
    count = int((known[places] == judged).sum())
    verb = "is a training row too, by its inputs" if count == 1 else "are training rows too, by their inputs"
    return (
        [f"{count} of {counted(len(judged), 'validation row')} {verb}: they are less representative of new data"]
        if count
        else []
    )


def sum_of_hashes(inputs: list[Rows]) -> NDArray[np.uint64]:
    """Return one hash per row over all inputs."""
    total = np.zeros(len(inputs[0]), np.uint64)
    for place, rows in enumerate(inputs):
        with ThreadPoolExecutor() as pool:
            parts = batched((piece for _, piece in pieces(rows, PIECE)), _AT_ONCE)
            hashes = [each for part in parts for each in pool.map(partial(_hashes, place=place), part)]
        total += np.concatenate(hashes)
    return total


def _hashes(rows: Array, place: int) -> NDArray[np.uint64]:
    """Return for each row the sum of its words times random factors (multilinear hashing, Carter 1979)."""
    raw = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    padded = raw if raw.shape[1] % 4 == 0 else np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4)))
    words = np.ascontiguousarray(padded).view(np.uint32)
    factors = np.random.PCG64(place).random_raw(words.shape[1]) | np.uint64(1)
    hashes: NDArray[np.uint64] = words @ factors
    return hashes
