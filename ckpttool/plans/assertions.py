"""Assertions of a plan: conditions on shapes, checked at once, and on values, checked while tensors are read."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import in_step, scalar_product
from ckpttool.surgery.merging.method import wide


class Watch(ABC):
    """Checks one condition on a tensor's values, block by block; each reading of the tensor creates a new one."""

    @abstractmethod
    def see(self, block: Array, other: Array | None) -> None:
        """Process a block, and the corresponding block of the tensor to compare with."""

    @abstractmethod
    def problem(self) -> str | None:
        """Return what is wrong with the tensor, or None."""


@dataclass
class Finite(Watch):
    """No NaN and no infinity."""

    bad: int = 0

    def see(self, block: Array, other: Array | None) -> None:
        """Count the elements that are not finite."""
        self.bad += len(block) - int(np.isfinite(block).sum())

    def problem(self) -> str | None:
        """Return the number of elements that are not finite, or None."""
        return f"has {self.bad} elements that are NaN or infinite" if self.bad else None


@dataclass
class Norm(Watch):
    """The Euclidean norm lies between two bounds."""

    low: float
    high: float
    squares: float = 0.0

    def see(self, block: Array, other: Array | None) -> None:
        """Add the squares of a block."""
        values = wide(block)
        self.squares += scalar_product(values, values)

    def problem(self) -> str | None:
        """Return the norm if it is out of bounds or NaN, else None."""
        norm = math.sqrt(self.squares)
        within = self.low <= norm <= self.high
        return None if within else f"has the norm {norm:.6g}, expected {self.low:g} to {self.high:g}"


@dataclass
class Near(Watch):
    """No element differs from another tensor's by more than `within`, 0 for equal values; NaN equals NaN."""

    within: float
    of: str
    far: int = 0
    furthest: float = 0.0

    def see(self, block: Array, other: Array | None) -> None:
        """Compare two blocks."""
        if other is None:
            return
        mine, theirs = block.astype(_of(block)), other.astype(_of(other))
        with np.errstate(invalid="ignore"):
            distance = np.abs(mine - theirs)
        same = (block == other) | (np.isnan(mine) & np.isnan(theirs))
        distance[same] = 0
        if block.dtype.kind in "iu":  # not all distinguishable in float64
            np.maximum(distance, 1, out=distance, where=~same)
        distance[np.isnan(distance)] = math.inf
        self.far += int((distance > self.within).sum())
        self.furthest = max(self.furthest, float(distance.max(initial=0)))

    def problem(self) -> str | None:
        """Return the number of elements that differ too much, and the largest difference, or None."""
        if not self.far:
            return None
        return (
            f"differs from {self.of} in {self.far} elements by up to {self.furthest:.6g}, at most {self.within:g} "
            "is allowed"
        )


def _of(block: Array) -> type[np.complex128 | np.float64]:
    return np.complex128 if block.dtype.kind == "c" else np.float64


@dataclass
class Checks:
    """Pending assertions on values: a tensor is checked whenever it is read, and `finish` reads the remaining ones."""

    waiting: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def on(self, tensor: Tensor, begin: Callable[[], Watch], place: str, other: Tensor | None = None) -> Tensor:
        """Return a tensor that raises a PlanError when it is read, if its watch finds a problem.

        Raises:
            PlanError: the tensor is not numeric.
        """
        if not tensor.dtype.is_number and not tensor.dtype.name.startswith(("complex", "bool")):
            raise PlanError(f"{place}: {tensor.name} has {tensor.dtype} elements, whose values cannot be asserted")
        key, sources = (place, tensor.name), [tensor] if other is None else [tensor, other]
        little = tensor.dtype.numpy.newbyteorder("<")

        def blocks() -> Iterator[Array]:
            watch = begin()
            for block, *others in in_step(sources):
                watch.see(block, others[0] if others else None)
                yield block
            if problem := watch.problem():
                raise PlanError(f"{place}: {tensor.name} {problem}")
            self.waiting.pop(key, None)

        def pieces() -> Iterator[memoryview]:
            for block in blocks():
                yield memoryview(np.ascontiguousarray(block).astype(little, copy=False).view(np.uint8).data)

        def read() -> Array:
            return np.concatenate([block.copy() for block in blocks()] or [tensor.read().reshape(-1)]).reshape(
                tensor.shape
            )

        checked = Tensor(tensor.spec, read, pieces, concurrent=all(source.concurrent for source in sources))
        self.waiting[key] = checked
        return checked

    def finish(self) -> None:
        """Read the tensors that have not been read yet, so that they are checked.

        Raises:
            PlanError: an assertion does not hold.
        """
        for tensor in list(self.waiting.values()):
            for _ in tensor.pieces():
                pass


def require_shape(tensor: Tensor, expected: Sequence[object], place: str) -> None:
    """Check a tensor's shape; "?" stands for any size.

    Raises:
        PlanError: the shape differs.
    """
    fits = len(expected) == len(tensor.shape) and all(
        want in ("?", size) for want, size in zip(expected, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, expected))
        raise PlanError(f"{place}: {tensor.name} has the shape {list(tensor.shape)}, expected [{wanted}]")
