"""Positive pairs: labels from groups or positions that say which rows belong together, for losses over pairs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ckpttool.core.errors import DataError
from ckpttool.core.tensors import Array
from ckpttool.data.batches import by_twos
from ckpttool.data.splits import Split
from ckpttool.graph.contents.batch_losses import BatchLoss

_TOGETHER = {"label": "have one label", "group": "are of one group", "place": "have places {near} apart at most"}


def with_pairs(splits: Sequence[Split], asks: BatchLoss) -> tuple[Split, ...]:
    """Return rows with pair labels if the loss needs them; otherwise return the rows unchanged.

    Raises:
        DataError: the training rows have no positive pair, or no negative pair.
    """
    if asks.pairs is None:
        return tuple(splits)
    train, *others = [_labelled(split, asks) for split in splits]
    if lacks := _lacks(train, asks):
        path = next((str(column.path) for column in train.stored.values()), "data")
        raise DataError(f"{path}: {lacks}, expected pairs of both kinds to train on")
    return (train, *(_with_note(split, _lacks(split, asks)) for split in others))


def dealt(order: Array, labels: Array, asks: BatchLoss) -> Array:
    """Return an order of rows in which rows that belong together are adjacent, in pairs.

    For pairs by position, windows of `near + 1` positions are used, with a different offset in each order.

    >>> dealt(np.array([3, 0, 2, 1]), np.array([10, 11, 12, 13]), BatchLoss("place", 1)).tolist()
    [3, 0, 2, 1]
    >>> dealt(np.array([0, 2, 3, 1]), np.array([10, 11, 12, 13]), BatchLoss("place", 1)).tolist()
    [0, 1, 2, 3]
    """
    width = asks.near + 1
    return by_twos(order, (labels + order[0] % width) // width)


def _with_note(split: Split, lacks: str) -> Split:
    return replace(split, notes=(*split.notes, f"validation: {lacks}")) if lacks else split


def _labelled(split: Split, asks: BatchLoss) -> Split:
    """Return rows with labels from groups or positions: labels of a positive pair differ by at most `near`.

    >>> from ckpttool.data.splits import Split
    >>> rows = Split("train", {}, None, 4, groups=np.array(["b", "a", "b", "a"]))
    >>> _labelled(rows, BatchLoss("group")).labels.tolist(), _labelled(rows, BatchLoss("group", 1)).labels.tolist()
    ([1, 0, 1, 0], [6, 1, 8, 3])
    """
    if asks.pairs == "label":
        return split
    places = split.numbers if asks.near else np.zeros(split.rows, np.int64)
    if asks.pairs == "group":
        _, groups = np.unique(np.zeros(split.rows) if split.groups is None else split.groups, return_inverse=True)
        between = int(places.max(initial=0)) + asks.near + 2 if asks.near else 1
        places = places + groups * between
    return replace(split, labels=places.astype(np.int64))


def _lacks(split: Split, asks: BatchLoss) -> str:
    """Return the kind of pair that is missing, positive or negative; empty if rows have both."""
    assert split.labels is not None
    ordered = np.sort(split.labels)
    words = _TOGETHER[asks.pairs or "label"].format(near=asks.near)
    words += f", {asks.near} places apart at most" * bool(asks.near and asks.pairs == "group")
    if not (np.diff(ordered) <= asks.near).any():
        return f"no two of {split.rows} rows {words}"
    return f"all of {split.rows} rows {words}" if ordered[-1] - ordered[0] <= asks.near else ""
