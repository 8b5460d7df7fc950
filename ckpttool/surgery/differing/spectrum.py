"""The spectrum of a change: in how many directions a matrix has moved, told by one pass over its rows.

A sketch of few random directions is enough: it has every change of a low rank whole (Halko, Martinsson and Tropp 2011),
and of any other the sum of the fourth powers of its singular values, without a bias (Hutchinson 1990).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step

DIRECTIONS = 72
"""Random directions that rows are looked at from; adapters have at most 64."""
LARGEST_RANK = 64
"""The rank up to which a change counts as low; it is a quarter of what it could be at most, too."""
LEFT = 1e-4
"""The part of a change, in squares, that may lie outside of a low rank, beside what rounding made."""


@dataclass(frozen=True)
class Spectrum:
    """In how many directions a tensor has moved, of `of` that its shape has room for.

    `effective` is the participation ratio of the squared singular values, (sum s^2)^2 / sum s^4: the number of
    directions if all moved alike. `rank` is the number of directions that hold all of the change but what rounding to
    the tensor's dtype explains; None where these are more than an adapter has.
    """

    name: str
    effective: float
    rank: int | None
    of: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"name": self.name, "rank": self.rank, "effective_rank": self.effective, "of": self.of}

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.of}" if self.rank else f"about {self.effective:.3g} of {self.of}"


def spectrum(name: str, a: Tensor, b: Tensor) -> Spectrum | None:
    """Return the spectrum of what changed between two tensors of one shape; None where they are not matrices.

    A kernel of a convolution is the matrix that is nearest to a square.

    >>> one = np.zeros((300, 200), np.float32)
    >>> other = one + np.outer(np.arange(300), np.ones(200)).astype(np.float32)
    >>> found = spectrum("w", Tensor.of("w", one), Tensor.of("w", other))
    >>> found.rank, round(found.effective, 3), found.of
    (1, 1.0, 200)
    """
    shape = matrix_shape(b)
    if shape is None or a.shape != b.shape or not a.spec.dtype.is_number:
        return None
    sketch = _Sketch(shape[1])
    for one, other in rows_in_step(a, b, shape[1]):
        sketch.add(one, other)
    return sketch.spectrum(name, min(shape), _rounding(b) + _rounding(a))


def _rounding(tensor: Tensor) -> float:
    """Return the variance of what rounding to a tensor's dtype adds to its numbers, for numbers about 1."""
    kind = tensor.dtype.numpy
    if kind.kind in "iub":
        return 0.0
    import ml_dtypes

    eps: Any = ml_dtypes.finfo(kind).eps  # type: ignore[no-untyped-call]
    return float(eps) ** 2 / 12


class _Sketch:
    """What a change does to random directions, gathered over its rows."""

    def __init__(self, columns: int) -> None:
        self.directions = np.random.default_rng(0).standard_normal((columns, DIRECTIONS))
        self.through = np.zeros((columns, DIRECTIONS))
        self.products = np.zeros((DIRECTIONS, DIRECTIONS))
        self.squares = self.weights = 0.0

    def add(self, a: Array, b: Array) -> None:
        """Look at some rows; what is not finite in one of both counts as unchanged."""
        with np.errstate(invalid="ignore", over="ignore"):
            change = b - a
        change[~np.isfinite(change)] = 0.0
        seen = change @ self.directions
        self.through += change.T @ seen
        self.products += seen.T @ seen
        self.squares += float(np.square(change).sum())
        self.weights += float(np.square(np.where(np.isfinite(b), b, 0.0)).sum())

    def spectrum(self, name: str, of: int, rounding: float) -> Spectrum | None:
        """Return the spectrum; `rounding` is the variance that it adds to numbers about 1."""
        if not self.squares or not np.isfinite(self.squares):
            return None
        values, vectors = np.linalg.eigh(self.products)
        kept = values > values[-1] * 1e-12
        found = np.linalg.svd(self.through @ (vectors[:, kept] / np.sqrt(values[kept])), compute_uv=False) ** 2
        left = self.squares - np.cumsum(found)  # the squares of the largest singular values, as far as they are seen
        allowed = LEFT * self.squares + 2 * rounding * self.weights
        low = np.flatnonzero(left <= allowed)
        rank = int(low[0]) + 1 if len(low) else None
        if rank is not None and rank <= min(LARGEST_RANK, of // 4):
            return Spectrum(name, float(found.sum() ** 2 / np.square(found).sum()), rank, of)
        fourth = float(np.square(self.through).sum()) / DIRECTIONS
        return Spectrum(name, min(float(of), self.squares**2 / fourth), None, of)
