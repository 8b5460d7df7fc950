"""Fits: how many bottom layers of an entry can be reused for another network, or for rows of a given shape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from ckpttool.core.counts import counted
from ckpttool.core.shapes import PartialShape, agrees
from ckpttool.zoo.stacks import common, free_of_size, shape_of, stacked

SAME, RESHAPED, RESIZED = "same", "reshaped", "resized"
"""How rows match a network's input: unchanged, reshaped to as many numbers, or resized as images."""


@dataclass(frozen=True)
class Stack:
    """The layers of an entry's latest revision, from the index.

    `takes` is the shape of an input row if it is known, `below` the number of layers below the output layers.
    """

    name: str
    revision: int
    takes: str | None
    count: int
    below: int
    text: str


@dataclass(frozen=True)
class Fit:
    """The number of layers of an entry that fit, out of `of`, and the reason; `rows` is how rows match the input.

    A head can be added on at most `below` layers, as it cannot be on output layers.
    """

    name: str
    revision: int
    layers: int
    of: int
    below: int
    takes: str | None
    why: str
    rows: str = SAME


def fits_of_model(stacks: Iterable[Stack], other: Sequence[str]) -> list[Fit]:
    """Return the entries whose bottom layers match another network's, sorted by descending number of layers."""
    found = []
    for own in stacks:
        if layers := common(stacked(own.text), other):
            same = counted(layers, "layer has", "layers have")
            found.append(
                Fit(own.name, own.revision, layers, own.count, own.below, own.takes, f"{same} its kind and shapes")
            )
    return sorted(found, key=lambda fit: (-fit.layers, fit.of, fit.name))


def fits_of_rows(stacks: Iterable[Stack], shape: Sequence[int]) -> list[Fit]:
    """Return the entries that accept rows of a shape, sorted by descending number of reusable layers."""
    ways = {SAME: 0, RESHAPED: 1, RESIZED: 2}
    taken: dict[str, str | None] = {}
    found = []
    for own in stacks:
        if own.takes is None or not own.below:
            continue
        if own.takes not in taken:
            taken[own.takes] = way_in(shape, shape_of(own.takes))
        way, layers = taken[own.takes], own.below
        if way == RESIZED:
            layers = min(layers, sum(1 for _ in free_of_size(stacked(own.text))))
        if way and layers:
            found.append(
                Fit(own.name, own.revision, layers, own.count, own.below, own.takes, _why(way, own.takes), way)
            )
    return sorted(found, key=lambda fit: (-fit.layers, ways[fit.rows], fit.name))


def way_in(shape: Sequence[int], takes: PartialShape) -> str | None:
    """Return how rows of a shape match the input of a network, or None if they do not.

    >>> way_in((28, 28, 1), (None, None, 1)), way_in((28, 28, 1), (784,)), way_in((28, 28, 1), (32, 32, 1))
    ('same', 'reshaped', 'resized')
    >>> way_in((28, 28, 1), (32, 32, 3))
    """
    if agrees(shape, takes):
        return SAME
    sizes = [size for size in takes if size is not None]
    if len(sizes) == len(takes) and prod(sizes) == prod(shape):
        return RESHAPED
    if len(shape) == len(takes) == 3 and takes[2] in (None, shape[2]):
        return RESIZED
    return None


def _why(way: str, takes: str) -> str:
    if way == SAME:
        return f"takes {takes}: the layers below its outputs"
    if way == RESHAPED:
        return f"takes {takes}, as many numbers: the layers below its outputs"
    return f"takes {takes}: the layers that do not depend on the size; rows are resized"
