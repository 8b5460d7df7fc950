"""Ranks of magnitudes: which size an element of a task vector has that comes at a given place in their order.

A task vector is neither kept nor sorted. Its magnitudes are rounded to float32, which keeps their order, and counted by
the first bits of these, which order them as they order integers. In a second pass only those are computed exactly, and
sorted, that share their first bits with the one at the place.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step

FIRST = slice(1, None, 2) if np.little_endian else slice(0, None, 2)
"""Of the halves of float32 numbers, those with the sign, the exponent and seven bits of the fraction."""
CLASSES = 1 << 15
"""How many different first halves there are of numbers without a sign."""


@np.errstate(over="ignore", invalid="ignore")
def of_rank(base: Tensor, tensors: Sequence[Tensor], ranks: Sequence[int]) -> Array:
    """Return the magnitudes of some ranks in each task vector, an array [tensors, ranks].

    The smallest magnitude has rank 0; NaN comes last. A complex number counts as two.

    >>> base, a = Tensor.of("x", np.zeros(4)), Tensor.of("x", np.array([3.0, -1.0, 4.0, 0.5]))
    >>> of_rank(base, [a], [0, 2]).tolist()
    [[0.5, 3.0]]
    """
    counts = np.zeros((len(tensors), CLASSES), np.int64)
    for number, start, block in _blocks(base, tensors):
        counts[number] += np.bincount(_classes(start, block), minlength=CLASSES)
    ends = counts.cumsum(1)
    wanted = [[int(np.searchsorted(own, rank, "right")) for rank in ranks] for own in ends]
    kept: list[dict[int, list[Array]]] = [{each: [] for each in classes} for classes in wanted]
    for number, start, block in _blocks(base, tensors):
        classes = _classes(start, block)
        for each, parts in kept[number].items():
            at = np.flatnonzero(classes == each)
            parts.append(np.abs(block[at].astype(np.float64) - start[at].astype(np.float64)))
    found = np.empty((len(tensors), len(ranks)))
    for number, own in enumerate(wanted):
        alike = {each: np.sort(np.concatenate(parts)) for each, parts in kept[number].items()}
        for place, (rank, each) in enumerate(zip(ranks, own, strict=True)):
            found[number, place] = alike[each][rank - ends[number, each] + counts[number, each]]
    return found


def elements(tensor: Tensor) -> int:
    """Return how many magnitudes a tensor has: a complex number has two."""
    return tensor.spec.elements * (2 if tensor.dtype.numpy.kind == "c" else 1)


def _blocks(base: Tensor, tensors: Sequence[Tensor]) -> Iterator[tuple[int, Array, Array]]:
    """Yield the number of each model with the same block of the base and of the model, complex numbers as pairs."""
    real = base.dtype.numpy if base.dtype.numpy.kind != "c" else np.empty(0, base.dtype.numpy).real.dtype
    for blocks in in_step([base, *tensors]):
        start, *others = (block.view(real) for block in blocks)
        for number, block in enumerate(others):
            yield number, start, block


def _classes(start: Array, block: Array) -> Array:
    """Return the first half of each magnitude as float32."""
    exact = np.float64 if block.dtype.itemsize > 4 else np.float32
    move = np.subtract(block.astype(exact, copy=False), start.astype(exact, copy=False))
    sizes = np.abs(move, out=move).astype(np.float32, copy=False)
    classes: Array = sizes.view(np.uint16)[FIRST]
    return classes
