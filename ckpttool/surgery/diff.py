"""Differences between two checkpoints: which tensors differ, and by how much, in bounded memory."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from ckpttool.surgery.blocks import blocks, same_bytes
from ckpttool.tensors import PIECE, Array, Tensor

ELEMENTS = PIECE // 16
"""Elements that are compared at once."""


@dataclass(frozen=True)
class Change:
    """A tensor that differs.

    `max_abs` is the largest difference of two elements, `relative` that over the largest absolute value in the first
    checkpoint (infinite where that is 0). Both are None where `why` says that there are no numbers to compare: other
    shapes, other strings. A NaN or an infinity against a number differs infinitely.
    """

    name: str
    max_abs: float | None
    relative: float | None
    why: str


@dataclass(frozen=True)
class Diff:
    """What differs between two checkpoints, by name, in the first one's order."""

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    changed: tuple[Change, ...]
    same: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_a or self.only_b or self.changed)


def diff(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Diff:
    """Compare two checkpoints tensor by tensor, by value: NaN equals NaN.

    >>> one = {"bias": Tensor.of("bias", np.array([1.0, 2.0]))}
    >>> other = {"bias": Tensor.of("bias", np.array([1.0, 2.5]))}
    >>> diff(one, other).changed
    (Change(name='bias', max_abs=0.5, relative=0.25, why='values'),)
    """
    changes = {name: compare(name, tensor, b[name]) for name, tensor in a.items() if name in b}
    return Diff(
        tuple(name for name in a if name not in b),
        tuple(name for name in b if name not in a),
        tuple(change for change in changes.values() if change),
        tuple(name for name, change in changes.items() if not change),
    )


def compare(name: str, a: Tensor, b: Tensor) -> Change | None:
    """Return how two tensors differ, or None. Numbers of two dtypes are compared by value and differ in any case."""
    if a.shape != b.shape:
        return Change(name, None, None, f"shape {list(a.shape)} against {list(b.shape)}")
    if not (_numeric(a) and _numeric(b)):
        return _compare_whole(name, a, b)
    if a.dtype is b.dtype and same_bytes(a, b):
        return None
    numbers = _Numbers()
    for piece_a, piece_b in zip_longest(_arrays(a), _arrays(b), fillvalue=np.empty(0)):
        numbers.add(piece_a, piece_b)
    if a.dtype is not b.dtype:
        return Change(name, numbers.max_abs, numbers.relative, f"{a.dtype} against {b.dtype}")
    return Change(name, numbers.max_abs, numbers.relative, "values") if numbers.differ else None


def _numeric(tensor: Tensor) -> bool:
    return tensor.dtype.itemsize > 0


def _compare_whole(name: str, a: Tensor, b: Tensor) -> Change | None:
    """Compare strings, and variants where they can be, as wholes."""
    if a.dtype is not b.dtype:
        return Change(name, None, None, f"{a.dtype} against {b.dtype}")
    return None if same_bytes(a, b) else Change(name, None, None, f"{a.dtype} contents")


class _Numbers:
    """Gathers the largest difference over the pieces of two tensors."""

    def __init__(self) -> None:
        self.differ = False
        self.max_abs = 0.0
        self._largest = 0.0

    @property
    def relative(self) -> float:
        """The largest difference over the largest value."""
        if not self.max_abs:
            return 0.0
        return self.max_abs / self._largest if self._largest else float("inf")

    def add(self, a: Array, b: Array) -> None:
        """Compare one piece of each."""
        wide_a, wide_b = _wide(a), _wide(b)
        with np.errstate(invalid="ignore", over="ignore"):
            apart = ~((wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b)))
            distance = np.abs(wide_a[apart] - wide_b[apart])
        self._largest = max(self._largest, _largest(wide_a))
        if distance.size:
            self.differ = True
            distance[np.isnan(distance)] = np.inf
            self.max_abs = max(self.max_abs, float(distance.max()))


def _wide(array: Array) -> Array:
    """Return numbers in a type in which differences are exact or nearly: 64-bit integers need more than a float64."""
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    wide = np.longdouble if array.dtype.kind in "iu" and array.dtype.itemsize == 8 else np.float64
    return array.astype(wide)


def _largest(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


def _arrays(tensor: Tensor) -> Iterator[Array]:
    for block in blocks(tensor, ELEMENTS * tensor.dtype.itemsize):
        yield _array(block, tensor)


def _array(raw: bytes, tensor: Tensor) -> Array:
    array = np.frombuffer(raw, tensor.dtype.numpy)
    return array if sys.byteorder == "little" else array.byteswap()
