"""What a method of merging is: one tensor made of several, in float64, a block at a time, when it is read."""

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
from ckpttool.surgery.blocks import ELEMENTS, in_step
from ckpttool.surgery.merging.scales import Scales

Combine = Callable[[list[Array]], Array]
"""Makes one block of one block of each tensor, all of them flat and of float64, in memory that is used again."""


@dataclass(frozen=True)
class Method(ABC):
    """A way to merge models of one shape; a subclass is a frozen dataclass of its parameters."""

    name: ClassVar[str]
    sources: ClassVar[int | None] = None
    """How many models it merges, if not any number."""

    def parts(self, count: int) -> tuple[float, ...]:
        """Return how much each of so many models counts.

        Raises:
            PlanError: the weights that were given are not such.
        """
        return shares(getattr(self, "weights", None), count)


class WeightMethod(Method):
    """A method that goes by the weights of the models alone."""

    @abstractmethod
    def merge(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return a tensor that is made of the models', when it is read.

        Raises:
            PlanError: the parameters do not fit the number of models.
        """


class TaskVectorMethod(Method):
    """A method that goes by task vectors: each model's weights less those of the base that all were trained from."""

    scale: Scales

    @abstractmethod
    def merge(self, tensors: Sequence[Tensor], base: Tensor) -> Tensor:
        """Return the base's tensor moved by what the models' have learned, when it is read.

        Raises:
            PlanError: the parameters do not fit the number of models.
        """


def shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return the weights of so many checkpoints: those given, or equal ones.

    Raises:
        PlanError: they are not as many, or no weights.
    """
    weights = factors(weights, count)
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or not sum(weights):
        listed = ",".join(f"{weight:g}" for weight in weights)
        raise PlanError(f"`weights` {listed}: expected numbers of 0 or more, and not all 0")
    return weights


def factors(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return a number for each of so many checkpoints, which may be negative: those given, or ones.

    Raises:
        PlanError: they are not as many, or one is not finite.
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


def combined(tensors: Sequence[Tensor], begin: Callable[[], Combine]) -> Tensor:
    """Return a tensor that is like the last one, and made of all of them.

    `begin` is called before each reading, and gives what combines the blocks in their order. Complex numbers are passed
    to it as pairs.

    >>> a, b = Tensor.of("a", np.array([1.0, 2.0], np.float32)), Tensor.of("b", np.array([3.0, 5.0], np.float32))
    >>> combined([a, b], lambda: lambda blocks: blocks[0] + blocks[1]).read()
    array([4., 7.], dtype=float32)
    """
    like = tensors[-1]

    def arrays() -> Iterator[Array]:
        # to make room for a block anew each time takes longer than to compute with it
        combine, memory = begin(), [np.empty(2 * min(ELEMENTS, tensor.spec.elements)) for tensor in tensors]
        for blocks in in_step(tensors):
            widened = [wide(block, own) for block, own in zip(blocks, memory, strict=True)]
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so, and is reported elsewhere
                block = combine(widened)
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


def wide(block: Array, memory: Array | None = None) -> Array:
    """Return a block's numbers as float64, complex ones as pairs, in a new array or at the start of a given one.

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
    """Return numbers that were widened in the dtype that they had.

    Raises:
        CkptError: a finite number does not fit into it.
    """
    own = values.view(np.complex128) if dtype.numpy.kind == "c" else values
    with np.errstate(over="ignore"):
        narrowed = own.astype(dtype.numpy)
    return narrowed if np.isfinite(narrowed).all() else cast_array(name, own, dtype)
