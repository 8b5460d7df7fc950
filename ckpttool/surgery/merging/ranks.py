"""Ranks of magnitudes: which size an element of a task vector has that comes at a given place in their order.

A task vector is neither kept nor sorted. Its magnitudes are rounded to float32, which keeps their order, and counted by
the first bits of these, which order them as they order integers. In a second pass only those are computed exactly, and
sorted, that share their first bits with the one at the place.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step

FIRST = slice(1, None, 2) if np.little_endian else slice(0, None, 2)
"""Of the halves of float32 numbers, those with the sign, the exponent and seven bits of the fraction."""
CLASSES = 1 << 15
"""How many different first halves there are of numbers without a sign."""


Magnitudes = Iterator[tuple[int, Array, Callable[[Array], Array]]]
"""Blocks of magnitudes: the number of the vector, its elements as float32, and a function of places to float64."""


def of_rank(base: Tensor, tensors: Sequence[Tensor], ranks: Sequence[int]) -> Array:
    """Return the magnitudes of some ranks in each task vector, an array [tensors, ranks].

    The smallest magnitude has rank 0; NaN comes last. A complex number counts as two.

    >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([3.0, -1.0, 4.0, 0.5]))
    >>> of_rank(base, [a], [0, 2]).tolist()
    [[0.5, 3.0]]
    """
    return ranked(lambda: _moves(base, tensors), len(tensors), ranks)


@np.errstate(over="ignore", invalid="ignore")
def ranked(blocks: Callable[[], Magnitudes], count: int, ranks: Sequence[int]) -> Array:
    """Return the magnitudes of some ranks in each of `count` vectors [count, ranks], whose blocks are read twice."""
    counts = np.zeros((count, CLASSES), np.int64)
    for number, rounded, _ in blocks():
        counts[number] += np.bincount(_classes(rounded), minlength=CLASSES)
    ends = counts.cumsum(1)
    wanted = [[int(np.searchsorted(own, rank, "right")) for rank in ranks] for own in ends]
    kept: list[dict[int, list[Array]]] = [{each: [] for each in classes} for classes in wanted]
    for number, rounded, exact in blocks():
        classes = _classes(rounded)
        for each, parts in kept[number].items():
            parts.append(exact(np.flatnonzero(classes == each)))
    found = np.empty((count, len(ranks)))
    for number, own in enumerate(wanted):
        alike = {each: np.sort(np.concatenate(parts)) for each, parts in kept[number].items()}
        for place, (rank, each) in enumerate(zip(ranks, own, strict=True)):
            found[number, place] = alike[each][rank - ends[number, each] + counts[number, each]]
    return found


def of_sizes(sizes: Callable[[], Iterator[Array]], ranks: Sequence[int]) -> list[float]:
    """Return some ranks of numbers of 0 or more, given as float64 in blocks, which are read twice.

    >>> of_sizes(lambda: iter([np.array([3.0, 1.0]), np.array([4.0, 0.5])]), [0, 2])
    [0.5, 3.0]
    """

    def blocks() -> Magnitudes:
        for block in sizes():
            yield 0, block.astype(np.float32), block.__getitem__

    return [float(each) for each in ranked(blocks, 1, ranks)[0]]


def elements(tensor: Tensor) -> int:
    """Return how many magnitudes a tensor has: a complex number has two."""
    return tensor.spec.elements * (2 if tensor.dtype.numpy.kind == "c" else 1)


def _moves(base: Tensor, tensors: Sequence[Tensor]) -> Magnitudes:
    """Yield the number of each model with the magnitudes of its task vector, complex numbers as pairs."""
    real = base.dtype.numpy if base.dtype.numpy.kind != "c" else np.empty(0, base.dtype.numpy).real.dtype
    for blocks in in_step([base, *tensors]):
        start, *others = (block.view(real) for block in blocks)
        for number, block in enumerate(others):
            yield number, _rounded(start, block), partial(_exact, start, block)


def _rounded(start: Array, block: Array) -> Array:
    exact = np.float64 if block.dtype.itemsize > 4 else np.float32
    move = np.subtract(block.astype(exact, copy=False), start.astype(exact, copy=False))
    sizes: Array = np.abs(move, out=move).astype(np.float32, copy=False)
    return sizes


def _exact(start: Array, block: Array, at: Array) -> Array:
    sizes: Array = np.abs(block[at].astype(np.float64) - start[at].astype(np.float64))
    return sizes


def _classes(sizes: Array) -> Array:
    """Return the first half of each magnitude as float32."""
    classes: Array = sizes.view(np.uint16)[FIRST]
    return classes
