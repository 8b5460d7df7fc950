"""The movement between two tensors: largest difference, distance, angle, new zeros, accumulated over blocks."""

import math

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import ELEMENTS, arrays, scalar_product


class Movement:
    """Accumulates over pairs of blocks how far the second tensor has moved from the first.

    `max_abs` is the largest difference of two elements, which is infinite between a number and NaN or an infinity.
    `distance` and `norm` are the L2 norms of the difference and of the first tensor, over the elements that are finite
    in both. `nan` and `inf` count those that only the second tensor has, `zeros` those of the second.
    """

    def __init__(self) -> None:
        """Start without blocks."""
        self.differ = False
        self.max_abs = self.largest = 0.0
        self.nan = self.inf = self.zeros = 0
        self._squares = self._moved = self._along = 0.0
        self._a, self._step = np.empty(ELEMENTS), np.empty(ELEMENTS)

    def add(self, a: Array, b: Array) -> None:
        """Compare one block of each tensor, of at most `ELEMENTS` elements."""
        self.zeros += int(np.count_nonzero(b == 0))
        if not (_fits_float64(a) and _fits_float64(b) and self._add_finite(a, b)):
            self._add_any(_wide(a), _wide(b))

    @property
    def relative(self) -> float:
        """The largest difference, relative to the largest magnitude of the first tensor."""
        return ratio(self.max_abs, self.largest)

    @property
    def distance(self) -> float:
        """The L2 norm of the difference."""
        return math.sqrt(self._moved)

    @property
    def norm(self) -> float:
        """The L2 norm of the first tensor."""
        return math.sqrt(self._squares)

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between the two tensors; None if one is all zeros."""
        squares_b = self._squares + 2 * self._along + self._moved
        lengths = math.sqrt(self._squares) * math.sqrt(max(squares_b, 0.0))
        if not lengths or not math.isfinite(lengths):
            return None
        return max(-1.0, min(1.0, (self._squares + self._along) / lengths))

    @property
    def factor(self) -> float | None:
        """The factor by which the first tensor is nearest to the second; None if the first is all zeros."""
        factor = 1 + self._along / self._squares if self._squares else math.nan
        return factor if math.isfinite(factor) else None

    def _add_finite(self, a: Array, b: Array) -> bool:
        """Compare blocks as float64 and return True; return False without changes if a number is not finite."""
        wide, step = self._a[: len(a)], self._step[: len(a)]
        np.copyto(wide, a)
        np.copyto(step, b)
        with np.errstate(invalid="ignore", over="ignore"):
            step -= wide
            farthest = max(float(step.max()), -float(step.min()))
            largest = max(float(wide.max()), -float(wide.min()))
            if not (math.isfinite(farthest) and math.isfinite(largest)):
                return False
            self._add_products(wide, step)
        self._note(farthest > 0, farthest, largest)
        return True

    def _add_any(self, a: Array, b: Array) -> None:
        """Compare blocks that may contain NaN and infinities: NaN equals NaN, and is infinitely far from numbers."""
        with np.errstate(invalid="ignore", over="ignore"):
            apart = ~((a == b) | (np.isnan(a) & np.isnan(b)))
            distance = np.abs(b[apart] - a[apart])
            distance[np.isnan(distance)] = np.inf
            self.nan += int(np.count_nonzero(np.isnan(b) & ~np.isnan(a)))
            self.inf += int(np.count_nonzero(np.isinf(b) & ~np.isinf(a)))
            finite = np.isfinite(a) & np.isfinite(b)
            self._add_products(_real(a[finite]), _real(b[finite] - a[finite]))
        values = np.abs(a[np.isfinite(a)])
        self._note(bool(apart.any()), float(distance.max(initial=0)), float(values.max(initial=0)))

    def _add_products(self, a: Array, step: Array) -> None:
        self._squares += scalar_product(a, a)
        self._along += scalar_product(a, step)
        self._moved += scalar_product(step, step)

    def _note(self, differ: bool, farthest: float, largest: float) -> None:
        self.differ = self.differ or differ
        self.max_abs, self.largest = max(self.max_abs, farthest), max(self.largest, largest)


def norm(tensor: Tensor) -> float:
    """Return the L2 norm of a tensor's finite numbers.

    >>> norm(Tensor.of("bias", np.array([3.0, 4.0])))
    5.0
    """
    movement = Movement()
    for block in arrays(tensor):
        movement.add(block, block)
    return movement.norm


def ratio(part: float, whole: float) -> float:
    """Return a ratio; 0 if `part` is 0, else infinite if `whole` is 0.

    >>> ratio(1, 4), ratio(0, 0), ratio(1, 0)
    (0.25, 0.0, inf)
    """
    if not part:
        return 0.0
    return part / whole if whole else math.inf


def newly_dead(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Return the numbers of rows and columns that are all zeros in `b`, but not in `a` (of the same shape).

    Columns are those of the last dimension: the outputs of TensorFlow's kernels. Rows are counted only for matrices.

    >>> a, b = Tensor.of("a", np.ones((2, 3))), Tensor.of("b", np.array([[1.0, 0, 2], [3, 0, 4]]))
    >>> newly_dead(a, b)
    (0, 1)
    """
    if not could_be_dead(b.shape, b.spec.elements):
        return 0, 0
    (rows_a, columns_a), (rows_b, columns_b) = _alive(a), _alive(b)
    rows = int(np.count_nonzero(rows_a & ~rows_b)) if len(b.shape) == 2 else 0
    return rows, int(np.count_nonzero(columns_a & ~columns_b))


def could_be_dead(shape: tuple[int, ...], zeros: int) -> bool:
    """Return whether a tensor of this shape with a number of zeros could have a row or column of only zeros."""
    return len(shape) > 1 and 0 < min(int(np.prod(shape[:-1])), shape[-1]) <= zeros


def _alive(tensor: Tensor) -> tuple[Array, Array]:
    """Return which rows and which columns of a tensor contain an element other than zero."""
    rows, columns = np.zeros(int(np.prod(tensor.shape[:-1])), bool), np.zeros(tensor.shape[-1], bool)
    start = 0
    for block in arrays(tensor):
        places = start + np.flatnonzero(block != 0)
        rows[places // len(columns)] = True
        columns[places % len(columns)] = True
        start += len(block)
    return rows, columns


def _fits_float64(block: Array) -> bool:
    """Return whether differences of numbers of this dtype are (nearly) exact in float64."""
    return block.dtype.kind != "c" and not (block.dtype.kind in "iu" and block.dtype.itemsize == 8)


def _wide(block: Array) -> Array:
    """Return numbers in a dtype in which differences are (nearly) exact: 64-bit integers need more than float64."""
    if block.dtype.kind == "c":
        return block.astype(np.complex128)
    return block.astype(np.float64 if _fits_float64(block) else np.longdouble)


def _real(block: Array) -> Array:
    """Return numbers as float64; complex ones as their real and imaginary parts."""
    return block.view(np.float64) if block.dtype.kind == "c" else block.astype(np.float64)
