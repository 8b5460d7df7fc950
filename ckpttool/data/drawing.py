"""Random draws of rows: stratified by class, and with groups of rows kept together."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array

_DRAW = 0x68656C64
"""Separates the random stream of draws from that of the order of epochs, which uses the same seed."""
_ROUNDING = 1e-6
FEW_VALUES = 5
"""Minimum average number of rows per value for which integers of unknown meaning count as classes, not amounts."""

Numbers = NDArray[np.int64]


def shuffled(count: int, seed: int) -> Numbers:
    """Return the numbers below `count` in a random order that depends on the seed alone, for any version of NumPy.

    >>> shuffled(5, 42).tolist() == shuffled(5, 42).tolist()
    True
    """
    order: Numbers = np.argsort(np.random.PCG64([seed, _DRAW]).random_raw(count), kind="stable")
    return order


def draw(rows: int, count: int, classes: Numbers | None, seed: int) -> Numbers:
    """Return the ascending numbers of `count` randomly drawn rows; with classes, the draw is stratified.

    Of a class of two rows or more some are drawn and some are not, if the count allows it.

    >>> draw(10, 2, np.array([0] * 5 + [1] * 5), 42).tolist()
    [1, 5]
    """
    order = shuffled(rows, seed)
    if classes is None:
        return np.sort(order[:count])
    _, codes, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    by_class = order[np.argsort(codes[order], kind="stable")]
    firsts = np.cumsum(sizes) - sizes
    places = np.arange(rows) - np.repeat(firsts, sizes)
    drawn: Numbers = by_class[places < np.repeat(shares(sizes, count, seed), sizes)]
    return np.sort(drawn)


def shares(sizes: Numbers, count: int, seed: int) -> Numbers:
    """Return how many of `count` rows each class gets: in proportion to its size, and none or all only if necessary.

    >>> shares(np.array([90, 9, 1]), 10, 42).tolist()
    [9, 1, 0]
    """
    exact = sizes * (count / sizes.sum())
    least = np.minimum(1, sizes - 1)
    least = least if least.sum() <= count else np.zeros_like(sizes)
    most = sizes - 1 if (sizes - 1).sum() >= count else sizes
    given: Numbers = np.clip(np.floor(exact + 1e-9).astype(np.int64), least, most)
    ties = shuffled(len(sizes), seed)
    while missing := count - int(given.sum()):
        step = 1 if missing > 0 else -1
        open_ = np.flatnonzero(given < most if step > 0 else given > least)
        wanting = open_[np.lexsort((ties[open_], step * (given - exact)[open_]))]
        given[wanting[: abs(missing)]] += step
    return given


def draw_groups(count: int, classes: Numbers | None, groups: Array, seed: int) -> tuple[Numbers, str]:
    """Return the ascending numbers of about `count` rows that are whole groups, and a text with the number of groups.

    Groups are taken in random order: first those that bring both the classes and the total closer to their targets,
    then those that reduce the sum of both distances.

    >>> held, said = draw_groups(2, None, np.array(["a", "a", "b", "b", "c", "c"]), 42)
    >>> len(held), said
    (2, '1 of 3 groups')

    Raises:
        DataError: all rows are in one group.
    """
    _, members = np.unique(groups, return_inverse=True)
    total = int(members.max()) + 1
    if total < 2:
        raise DataError("all rows are in one group, so none can be held out: expected two groups or more")
    codes = np.zeros(len(members), np.int64) if classes is None else np.unique(classes, return_inverse=True)[1]
    lack = np.bincount(codes) * (count / len(members))
    parts = _rows_by_class(members, codes)
    order = shuffled(total, seed).tolist()
    held: set[int] = set()
    for strict in (True, False):
        for group in order:
            gains = _nearer(parts[group], lack)
            enough = (min(gains) if strict else sum(gains)) > _ROUNDING
            if enough and group not in held and len(held) < total - 1:
                lack[parts[group][0]] -= parts[group][1]
                held.add(group)
    held = held or {min(order, key=lambda group: abs(int(parts[group][1].sum()) - count))}
    return np.flatnonzero(np.isin(members, list(held))), f"{len(held)} of {counted(total, 'group')}"


def _nearer(group: tuple[Numbers, Numbers], lack: Array) -> tuple[float, float]:
    """Return by how much a group reduces the squared distances of each class, and of the total, from their targets."""
    classes, rows = group
    size = int(rows.sum())
    return float((rows * (2 * lack[classes] - rows)).sum()), size * (2 * float(lack.sum()) - size)


def _rows_by_class(members: Numbers, codes: Numbers) -> list[tuple[Numbers, Numbers]]:
    """Return for each group the classes of its rows, and the number of rows of each class."""
    classes = int(codes.max()) + 1
    pairs, rows = np.unique(members * classes + codes, return_counts=True)
    groups, of_classes = np.divmod(pairs, classes)
    starts = np.searchsorted(groups, np.arange(1, int(members.max()) + 1))
    return list(zip(np.split(of_classes, starts), np.split(rows, starts), strict=True))


def group_keys(values: Array) -> Numbers:
    """Return an integer key for each value, a string or a number; equal values have equal keys in all arrays.

    >>> bool(group_keys(np.array(["a", "b", "a"]))[2] == group_keys(np.array(["a"]))[0])
    True
    """
    unique, places = np.unique(values.astype(str), return_inverse=True)
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in unique.tolist()]
    keys: Numbers = np.frombuffer(b"".join(digests), "<i8").astype(np.int64)[places]
    return keys


def classes_of(labels: Any, whole: bool) -> Numbers | None:
    """Return a class per row for stratified draws: its label, or the rarest of several; None if labels are amounts.

    Integers are classes if they are known to be (`whole`), or if each value is frequent enough.

    >>> classes_of(np.array([[0, 1], [1, 0]]), False).tolist(), classes_of(np.array([0.5, 1.5]), False)
    ([1, 0], None)
    """
    labels = np.asarray(labels)
    labels = labels.reshape(len(labels)) if labels.size == len(labels) else labels
    if labels.ndim == 2:
        return _of_several(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
        return None
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        return None
    values, codes = np.unique(labels, return_inverse=True)
    if not (whole or len(values) <= 2 or len(values) * FEW_VALUES <= len(labels)):
        return None
    return np.asarray(labels, np.int64) if np.array_equal(values, values.astype(np.int64)) else codes


def _of_several(labels: Array) -> Numbers | None:
    """Return for each row the class of the highest probability, or the rarest of its labels, -1 if it has none."""
    numbers = labels.astype(np.float64)
    likeliest: Numbers = numbers.argmax(axis=1)
    if numbers.min() >= 0 and np.allclose(numbers.sum(axis=1), 1, atol=1e-3):
        return likeliest
    if not np.isin(labels, (0, 1)).all():
        return None
    rare = np.argsort(labels.sum(axis=0, dtype=np.int64), kind="stable")
    holds = labels[:, rare].astype(bool)
    return np.where(holds.any(axis=1), rare[holds.argmax(axis=1)], -1)
