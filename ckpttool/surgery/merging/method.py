"""Base classes of merge methods: one tensor computed from several, lazily, in float64 and in blocks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.casting import cast_array
from ckpttool.core.counts import counted
from ckpttool.core.dtypes import DType
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.blocks import ELEMENTS, in_rows, in_step
from ckpttool.surgery.merging.scales import Scales

Combine = Callable[[list[Array]], Array]
"""Combines one block of each tensor to one block; all are flat float64 arrays, in memory that is reused."""


@dataclass(frozen=True)
class Method(ABC):
    """A method to merge models of equal shapes; a subclass is a frozen dataclass of its parameters."""

    name: ClassVar[str]
    sources: ClassVar[int | None] = None
    """The number of models that it merges; None for any number."""

    def parts(self, count: int) -> tuple[float, ...]:
        """Return the weight of each of `count` models.

        Raises:
            PlanError: the given weights are invalid.
        """
        return shares(getattr(self, "weights", None), count)


class WeightMethod(Method):
    """A method that needs only the models' weights."""

    @abstractmethod
    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the merged tensor, computed when it is read.

        Raises:
            PlanError: the parameters do not fit the number of models.
        """


class TaskVectorMethod(Method):
    """A method on task vectors: each model's weights minus those of the common base."""

    scale: Scales

    @abstractmethod
    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the base's tensor plus the combined task vectors, computed when it is read.

        Raises:
            PlanError: the parameters do not fit the number of models.
        """


def shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return non-negative weights of `count` checkpoints: the given ones, or ones.

    Raises:
        PlanError: their number differs, one is negative or not finite, or all are 0.
    """
    weights = factors(weights, count)
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or not sum(weights):
        listed = ",".join(f"{weight:g}" for weight in weights)
        raise PlanError(f"`weights` {listed}: expected numbers of 0 or more, and not all 0")
    return weights


def factors(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return weights of `count` checkpoints, which may be negative: the given ones, or ones.

    Raises:
        PlanError: their number differs, or one is not finite.
    """
    weights = tuple(weights) if weights else (1.0,) * count
    if len(weights) != count:
        found = counted(len(weights), "number")
        raise PlanError(f"`weights` has {found}, expected one for each of {counted(count, 'checkpoint')}")
    if not all(map(math.isfinite, weights)):
        raise PlanError(f"`weights` {','.join(f'{weight:g}' for weight in weights)}: expected finite numbers")
    return weights


def require_share(parameter: str, value: float, above_zero: bool = False) -> None:
    """Check that a number is between 0 and 1.

    Raises:
        PlanError: it is not.
    """
    if not (0 <= value <= 1) or (above_zero and not value):
        raise PlanError(f"`{parameter}` {value:g}: expected a number from 0 to 1{', and not 0' * above_zero}")


def combined(tensors: Sequence[Tensor], begin: Callable[[], Combine], row: int = 1) -> Tensor:
    """Return a lazy combination of tensors, with the shape and dtype of the last.

    `begin` is called before each read and returns the function that combines the blocks, in order. Complex numbers are
    passed to it as pairs. Blocks are of whole rows of `row` elements.

    >>> a, b = Tensor.of("a", np.array([1.0, 2.0], np.float32)), Tensor.of("b", np.array([3.0, 5.0], np.float32))
    >>> combined([a, b], lambda: lambda blocks: blocks[0] + blocks[1]).read()
    array([4., 7.], dtype=float32)
    """
    like = tensors[-1]

    def arrays() -> Iterator[Array]:
        combine = begin()
        for blocks in widened(tensors, row):
            with np.errstate(over="ignore", invalid="ignore"):  # non-finite values are kept, and reported elsewhere
                block = combine(blocks)
            yield narrow(like.name, block, like.dtype)

    def pieces() -> Iterator[memoryview]:
        little = like.dtype.numpy.newbyteorder("<")
        for array in arrays():
            yield memoryview(array.astype(little, copy=False).view(np.uint8).data)

    def read() -> Array:
        whole, at = np.empty(like.spec.elements, like.dtype.numpy), 0
        for array in arrays():
            whole[at : at + len(array)] = array
            at += len(array)
        return whole.reshape(like.shape)

    return Tensor(like.spec, read, pieces, concurrent=all(tensor.concurrent for tensor in tensors))


def widened(tensors: Sequence[Tensor], row: int = 1) -> Iterator[list[Array]]:
    """Yield lists of blocks of tensors of equal shapes as float64, in memory that is reused, in whole rows.

    >>> [blocks[0].tolist() for blocks in widened([Tensor.of("a", np.array([1 + 2j]))])]
    [[1.0, 2.0]]
    """
    # allocating new memory per block takes longer than most computations
    memory = [np.empty(2 * min(max(ELEMENTS, row), tensor.spec.elements)) for tensor in tensors]
    for blocks in in_step(tensors) if row == 1 else in_rows(tensors, row):
        yield [wide(block, own) for block, own in zip(blocks, memory, strict=True)]


def wide(block: Array, memory: Array | None = None) -> Array:
    """Return a block as float64, complex numbers as pairs, in a new array or at the start of `memory`.

    >>> wide(np.array([1 + 2j])).tolist()
    [1.0, 2.0]
    """
    dtype = np.complex128 if block.dtype.kind == "c" else np.float64
    if memory is None:
        return block.astype(dtype).view(np.float64)
    widened = memory.view(dtype)[: len(block)]
    np.copyto(widened, block)
    return widened.view(np.float64)


def narrow(name: str, values: Array, dtype: DType) -> Array:
    """Return widened numbers in their original dtype.

    Raises:
        CkptError: a finite number overflows it.
    """
    own = values.view(np.complex128) if dtype.numpy.kind == "c" else values
    with np.errstate(over="ignore"):
        narrowed = own.astype(dtype.numpy)
    return narrowed if np.isfinite(narrowed).all() else cast_array(name, own, dtype)
