"""The whole spectrum of a change: all singular values of a matrix's change, on request.

A sketch (`spectrum.py`) estimates the rank in one pass; all values require the Gram matrix along the shorter side, and
its eigenvalues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step

MOST = 16_384
"""The maximum shorter side of a matrix, which needs a quarter of an hour and 4 GB."""
COLUMNS = 4096
"""The number of columns of a wide matrix that are multiplied at once."""
BARS = 32


@dataclass(frozen=True)
class SingularValues:
    """The singular values of a matrix's change, the largest first; their squares are the energy.

    >>> found = SingularValues("w", (4.0, 3.0, 0.0))
    >>> found.directions(0.9), found.directions(0.5), round(found.participation, 3)
    (2, 1, 1.855)
    """

    name: str
    values: tuple[float, ...]

    @property
    def participation(self) -> float:
        """The participation ratio, (sum s^2)^2 / sum s^4: the number of directions if all moved equally."""
        squares = self._shares(2)
        return float(1 / np.square(squares).sum())

    @property
    def entropy_rank(self) -> float:
        """The exponential of the entropy of s / sum s, which Roy and Vetterli (2007) call effective rank."""
        shares = self._shares(1)
        shares = shares[shares > 1e-12]
        return exp(float(-(shares * np.log(shares)).sum()))

    def directions(self, energy: float) -> int:
        """Return the number of directions with a fraction `energy` of the energy."""
        return 1 + int(np.searchsorted(np.cumsum(self._shares(2)), energy * (1 - 1e-12)))

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "effective_rank": self.participation,
            "entropy_rank": self.entropy_rank,
            "rank_90": self.directions(0.90),
            "rank_99": self.directions(0.99),
            "singular_values": list(self.values),
        }

    def bars(self) -> Sequence[int]:
        """Return the heights of bars, from the largest to the smallest value, in thousandths of the largest."""
        parts = np.array_split(np.array(self.values), min(BARS, len(self.values)))
        return [round(1000 * float(part.mean()) / self.values[0]) for part in parts]

    def _shares(self, power: int) -> Array:
        powers = np.array(self.values) / self.values[0]
        powers **= power
        shares: Array = powers / powers.sum()
        return shares


def singular_values(name: str, a: Tensor, b: Tensor) -> SingularValues | None:
    """Return the singular values of the difference of two tensors of the same shape.

    None if they are not matrices, or too large, or if no finite number changed.

    >>> one = np.zeros((3, 2))
    >>> other = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    >>> [round(each, 6) for each in singular_values("w", Tensor.of("w", one), Tensor.of("w", other)).values]
    [4.0, 3.0]
    """
    shape = matrix_shape(b)
    if shape is None or min(shape) > MOST or a.shape != b.shape or not a.dtype.is_number:
        return None
    product = _of_rows(a, b, shape) if shape[0] < shape[1] else _of_columns(a, b, shape[1])
    scale = float(np.trace(product))
    if not (np.isfinite(scale) and scale > 0):
        return None
    found = np.linalg.eigvalsh(product / scale)[::-1]  # normalised to numbers about 1
    values = np.sqrt(np.maximum(found, 0)) * np.sqrt(scale)
    return SingularValues(name, tuple(values.tolist()))


def _of_columns(a: Tensor, b: Tensor, columns: int) -> Array:
    """Return the Gram matrix of the columns, accumulated over blocks of rows."""
    product = np.zeros((columns, columns))
    for one, other in rows_in_step(a, b, columns):
        change = _change(one, other)
        product += change.T @ change
    return product


def _of_rows(a: Tensor, b: Tensor, shape: tuple[int, int]) -> Array:
    """Return the Gram matrix of the rows; the change is kept in memory, as float32 or float64."""
    held = np.empty(shape, np.float64 if b.dtype.itemsize == 8 else np.float32)
    at = 0
    for one, other in rows_in_step(a, b, shape[1]):
        held[at : at + len(one)] = _change(one, other)
        at += len(one)
    product = np.zeros((shape[0], shape[0]))
    for start in range(0, shape[1], COLUMNS):
        part = held[:, start : start + COLUMNS].astype(np.float64)
        product += part @ part.T
    return product


def _change(one: Array, other: Array) -> Array:
    """Return the difference; elements that are not finite in either count as unchanged."""
    with np.errstate(invalid="ignore", over="ignore"):
        change: Array = other - one
    change[~np.isfinite(change)] = 0.0
    return change
