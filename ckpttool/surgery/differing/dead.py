"""Dead units: rows and columns of a weight that are all zeros, so that nothing goes through them."""

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import arrays


def newly_dead(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Return how many rows and columns are all zeros in `b` and were not in `a`, a tensor of the same shape.

    The last dimension has the columns: the outputs of TensorFlow's kernels. Rows are those of matrices.

    >>> a, b = Tensor.of("a", np.ones((2, 3))), Tensor.of("b", np.array([[1.0, 0, 2], [3, 0, 4]]))
    >>> newly_dead(a, b)
    (0, 1)
    """
    if not could_be_dead(b.shape, b.spec.elements):
        return 0, 0
    before, after = _Alive(a), _Alive(b)
    rows = int(np.count_nonzero(before.rows & ~after.rows)) if len(b.shape) == 2 else 0
    return rows, int(np.count_nonzero(before.columns & ~after.columns))


def could_be_dead(shape: tuple[int, ...], zeros: int) -> bool:
    """Say whether so many zeros are enough for a row or a column of a tensor of this shape."""
    return len(shape) > 1 and 0 < min(int(np.prod(shape[:-1])), shape[-1]) <= zeros


class _Alive:
    """Which rows and columns of a tensor hold anything but zeros."""

    def __init__(self, tensor: Tensor) -> None:
        self.rows = np.zeros(int(np.prod(tensor.shape[:-1])), bool)
        self.columns = np.zeros(tensor.shape[-1], bool)
        self._at = 0
        for block in arrays(tensor):
            self._add(block)

    def _add(self, block: Array) -> None:
        places = self._at + np.flatnonzero(block != 0)
        self.rows[places // len(self.columns)] = True
        self.columns[places % len(self.columns)] = True
        self._at += len(block)
