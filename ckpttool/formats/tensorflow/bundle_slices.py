"""Slices of a partitioned variable: where they lie in the whole, and that together they are the whole."""

import math
from typing import NamedTuple

from ckpttool.formats.wire.slices import FULL, Extent


class Box(NamedTuple):
    """The part of a tensor that a slice holds: its first index and its size in each dimension.

    >>> Box((0, 3), (4, 3)).region
    (slice(0, 4, None), slice(3, 6, None))
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def region(self) -> tuple[slice, ...]:
        """The same as NumPy's index."""
        return tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))


def box_of(extents: tuple[Extent, ...], shape: tuple[int, ...]) -> Box:
    """Return where a slice lies in a tensor of a shape.

    >>> box_of((FULL, (3, 3)), (4, 6))
    Box(start=(0, 3), shape=(4, 3))

    Raises:
        ValueError: it has another rank, or leaves the tensor.
    """
    if len(extents) != len(shape):
        raise ValueError(f"a slice has {len(extents)} dimensions, the tensor {len(shape)}")
    sizes = tuple(n if extent == FULL else extent[1] for extent, n in zip(extents, shape, strict=True))
    for (start, _), size, whole in zip(extents, sizes, shape, strict=True):
        if start < 0 or size < 0 or start + size > whole:
            raise ValueError(f"a slice from {start} of length {size} leaves a dimension of {whole}")
    return Box(tuple(start for start, _ in extents), sizes)


def require_cover(boxes: list[Box], shape: tuple[int, ...]) -> None:
    """Check that boxes inside a shape cover it, and that none lies on another (TensorFlow refuses that too).

    Raises:
        ValueError: there is a gap or an overlap.
    """
    held, wanted = sum(math.prod(box.shape) for box in boxes), math.prod(shape)
    if held < wanted:
        raise ValueError(f"its slices hold {held} of {wanted} elements")
    if held > wanted or _overlap([box for box in boxes if math.prod(box.shape)]):
        raise ValueError("its slices lie on one another")


def _overlap(boxes: list[Box]) -> bool:
    """Say whether two boxes share an element: sorted along the most divided axis, few can touch."""
    if len(boxes) < 2 or not boxes[0].shape:
        return len(boxes) > 1
    import numpy as np

    starts = np.array([box.start for box in boxes])
    ends = starts + np.array([box.shape for box in boxes])
    axis = int(np.argmax([len(np.unique(column)) for column in starts.T]))
    order = np.argsort(starts[:, axis], kind="stable")
    starts, ends = starts[order], ends[order]
    reach = np.searchsorted(starts[:, axis], ends[:, axis])
    return any(
        bool(np.all((starts[i + 1 : stop] < ends[i]) & (starts[i] < ends[i + 1 : stop]), axis=1).any())
        for i, stop in enumerate(reach)
    )
