"""Heat maps: where in a matrix the change is, in a few cells."""

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step

CELLS = 32
"""The maximum number of rows and columns of a map; each cell covers several of the matrix."""
COLOUR = (217, 98, 43)
"""The colour of changes, on any background."""
SHADES = 8


def heat(a: Tensor, b: Tensor, cells: int = CELLS) -> Array | None:
    """Return the root mean square of the change in each cell of a map; None if the tensors are not matrices.

    >>> one, other = np.zeros((4, 6)), np.zeros((4, 6))
    >>> other[3, 5] = 2.0
    >>> heat(Tensor.of("w", one), Tensor.of("w", other), 2).tolist()
    [[0.0, 0.0], [0.0, 0.816496580927726]]
    """
    shape = matrix_shape(b)
    if shape is None or a.shape != b.shape or not a.spec.dtype.is_number:
        return None
    rows, columns = shape
    high, wide = min(rows, cells), min(columns, cells)
    squares, down, across = np.zeros((high, wide)), np.arange(rows) * high // rows, np.arange(columns) * wide // columns
    starts = np.searchsorted(across, np.arange(wide))
    at = 0
    for one, other in rows_in_step(a, b, columns):
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.square(other - one)
        change[~np.isfinite(change)] = 0.0
        np.add.at(squares, down[at : at + len(change)], np.add.reduceat(change, starts, axis=1))
        at += len(change)
    counts = np.outer(np.bincount(down, minlength=high), np.bincount(across, minlength=wide))
    found: Array = np.sqrt(squares / counts)
    return found


def pixels(found: Array) -> Array:
    """Return a map as pixels [height, width, 4], uint8: the hotter, the more opaque.

    >>> pixels(np.array([[0.0, 1.0]]))[0, :, 3].tolist()
    [0, 255]
    """
    most = float(found.max())
    shades = np.rint((SHADES - 1) * found / most) / (SHADES - 1) if most > 0 else np.zeros_like(found)
    drawn = np.empty((*found.shape, 4), np.uint8)
    drawn[..., :3], drawn[..., 3] = COLOUR, np.rint(255 * shades)
    return drawn
