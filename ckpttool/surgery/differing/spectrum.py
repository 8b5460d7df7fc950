"""The spectrum of a change: the rank of a matrix's change, estimated in one pass over its rows.

A sketch with a few random directions is sufficient: it captures every change of low rank completely (Halko, Martinsson
and Tropp 2011), and is an unbiased estimate of the sum of the fourth powers of any singular values (Hutchinson 1990).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.differing.matrices import matrix_shape, rows_in_step

DIRECTIONS = 72
"""The number of random directions; adapters have at most rank 64."""
LARGEST_RANK = 64
"""The maximum rank of a change that counts as low; it must also be at most a quarter of the full rank."""
LEFT = 1e-4
"""The fraction of a change's squared norm that may be outside of a low rank, in addition to rounding errors."""


NOISE = 0.5
"""The fraction of a change's squared norm from which rounding errors hide the rank of the rest."""


@dataclass(frozen=True)
class Spectrum:
    """The rank of a tensor's change; `of` is the full rank for its shape.

    `effective` is the participation ratio of the squared singular values, (sum s^2)^2 / sum s^4: the number of
    directions if all moved equally. `rank` is the number of directions that contain the whole change except rounding
    errors of the tensor's dtype; None if it is larger than that of an adapter, or `hidden` by these errors.
    """

    name: str
    effective: float
    rank: int | None
    of: int
    hidden: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"name": self.name, "rank": self.rank, "effective_rank": self.effective, "of": self.of}

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.of}" if self.rank else f"about {self.effective:.3g} of {self.of}"


def spectrum(name: str, a: Tensor, b: Tensor) -> Spectrum | None:
    """Return the spectrum of the difference of two tensors of the same shape; None if they are not matrices.

    A convolution's kernel is reshaped to the matrix that is nearest to a square.

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
    return sketch.spectrum(name, min(shape), rounding(b) + rounding(a))


def rounding(tensor: Tensor) -> float:
    """Return the variance of rounding errors in a tensor's dtype, for numbers about 1."""
    kind = tensor.dtype.numpy
    if kind.kind in "iub":
        return 0.0
    import ml_dtypes

    eps: Any = ml_dtypes.finfo(kind).eps  # type: ignore[no-untyped-call]
    return float(eps) ** 2 / 12


class _Sketch:
    """The products of a change with random directions, accumulated over its rows."""

    def __init__(self, columns: int) -> None:
        self.directions = np.random.default_rng(0).standard_normal((columns, DIRECTIONS))
        self.through = np.zeros((columns, DIRECTIONS))
        self.products = np.zeros((DIRECTIONS, DIRECTIONS))
        self.squares = self.weights = 0.0

    def add(self, a: Array, b: Array) -> None:
        """Add some rows; elements that are not finite in either tensor count as unchanged."""
        with np.errstate(invalid="ignore", over="ignore"):
            change = b - a
        change[~np.isfinite(change)] = 0.0
        seen = change @ self.directions
        self.through += change.T @ seen
        self.products += seen.T @ seen
        self.squares += float(np.square(change).sum())
        self.weights += float(np.square(np.where(np.isfinite(b), b, 0.0)).sum())

    def spectrum(self, name: str, of: int, rounding: float) -> Spectrum | None:
        """Return the spectrum; `rounding` is the variance of rounding errors for numbers about 1."""
        if not self.squares or not np.isfinite(self.squares):
            return None
        values, vectors = np.linalg.eigh(self.products)
        kept = values > values[-1] * 1e-12
        found = np.linalg.svd(self.through @ (vectors[:, kept] / np.sqrt(values[kept])), compute_uv=False) ** 2
        left = self.squares - np.cumsum(found)  # the squared norm without the largest values
        noise = 2 * rounding * self.weights
        low = np.flatnonzero(left <= LEFT * self.squares + noise)
        hidden = noise >= NOISE * self.squares
        rank = int(low[0]) + 1 if len(low) and not hidden else None
        if rank is not None and rank <= min(LARGEST_RANK, of // 4):
            return Spectrum(name, float(found.sum() ** 2 / np.square(found).sum()), rank, of)
        fourth = float(np.square(self.through).sum()) / DIRECTIONS
        return Spectrum(name, min(float(of), self.squares**2 / fourth), None, of, hidden)
