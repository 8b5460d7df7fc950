"""Shapes, also partially known ones: None stands for an unknown size."""

import math
from collections.abc import Sequence

PartialShape = tuple[int | None, ...]
MOST_BYTES = 1 << 63
"""The size in bytes from which on nothing can address an array."""
LARGEST_ITEM = 16
"""The bytes of the largest element, a complex128: for shapes whose dtype is not known yet."""


def is_possible(shape: Sequence[int], itemsize: int = LARGEST_ITEM) -> bool:
    """Return whether an array of elements of `itemsize` bytes can have a shape; sizes of 0 do not excuse the others.

    >>> is_possible((3, 0)), is_possible((-1,)), is_possible((0, 1 << 60), 8)
    (True, False, False)
    """
    return min(shape, default=0) >= 0 and math.prod(filter(None, shape)) * itemsize < MOST_BYTES


def agrees(shape: Sequence[int], wanted: Sequence[int | None] | None) -> bool:
    """Return whether a shape matches a partially known one; any shape matches if nothing is known.

    >>> agrees((2, 4), (None, 4)), agrees((2, 5), (None, 4)), agrees((4,), (None, 4))
    (True, False, False)
    """
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(size in (None, found) for found, size in zip(shape, wanted, strict=True))


def written(shape: Sequence[int | None]) -> str:
    """Return a shape in the notation of options.

    >>> written((None, 28, 28))
    '[?,28,28]'
    """
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"


def shown(shape: Sequence[int | None]) -> str:
    """Return a shape in the notation of messages.

    >>> shown((None, 4))
    '[any, 4]'
    """
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
