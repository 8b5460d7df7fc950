"""Layouts: how a layer's weights are arranged in the source's arrays and in the graph's variables."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ckpttool.core.calls import Call
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import PIECE, Array, Tensor, TensorSpec

Shape = tuple[int, ...]
COLUMNS = 32
"""Columns of a transposed array that are copied at a time, to fit the processor's cache."""
CONCURRENT = 32 << 20
"""The bytes up to which tensors are converted concurrently; each is in memory as a whole, so larger ones have turns."""


class Layout(Call, ABC):
    """A conversion from a source's arrays to a graph's and back; a subclass is a frozen dataclass of its options.

    `apply` and `invert` keep the dtype and return views if possible, so that nothing large is copied twice. All four
    methods raise PlanError for shapes that do not fit.
    """

    noun: ClassVar[str] = "layout"
    example: ClassVar[str] = "flatten(channels=64)"

    @abstractmethod
    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes that `apply` returns for source arrays of these shapes."""

    @abstractmethod
    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes that `invert` returns for graph arrays of these shapes."""

    @abstractmethod
    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the graph's arrays for the source's, both in the order of a rule."""

    @abstractmethod
    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the source's arrays for the graph's."""

    def fitted(self, shapes: Sequence[Shape]) -> Self:
        """Return the layout with missing options inferred from the source's shapes; by default, itself."""
        del shapes
        return self

    def applied(self, tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
        """Return the named variables as lazy tensors, converted from the source's tensors when they are read."""
        return self._lazily(self.apply, tensors, names, self.shapes([tensor.shape for tensor in tensors]))

    def inverted(self, tensors: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
        """Return the source's named tensors as lazy tensors, converted from the variables when they are read."""
        return self._lazily(self.invert, tensors, names, self.source_shapes([tensor.shape for tensor in tensors]))

    def _lazily(
        self,
        change: Callable[[Sequence[Array]], list[Array]],
        tensors: Sequence[Tensor],
        names: Sequence[str],
        shapes: Sequence[Shape],
    ) -> list[Tensor]:
        def view(place: int) -> Array:
            return change([tensor.read() for tensor in tensors])[place]

        small = all(tensor.concurrent for tensor in tensors) and sum(each.nbytes for each in tensors) <= CONCURRENT

        def lazy(place: int) -> Tensor:
            spec = TensorSpec(names[place], shapes[place], tensors[0].dtype)
            return Tensor(spec, lambda: _in_c_order(view(place)), lambda: _pieces(view(place)), concurrent=small)

        return [lazy(place) for place in range(len(names))]

    def made_of(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return `shapes`, or an empty list if the layout does not fit."""
        try:
            return self.shapes(shapes)
        except PlanError:
            return []

    def wrong(self, shapes: Sequence[Shape], expected: str) -> PlanError:
        """Return an error with the shapes found and expected."""
        found = " ".join(str(list(shape)) for shape in shapes) or "nothing"
        return PlanError(f"{self}: found {found}, expected {expected}")


class OneToOne(Layout):
    """A layout of one array, such as a kernel; a subclass converts a shape and an array."""

    source: ClassVar[str]
    """The source's shape, in words."""
    target: ClassVar[str]
    """The graph's shape, in words."""

    @abstractmethod
    def shape(self, shape: Shape) -> Shape | None:
        """Return the graph's shape, or None if the source's does not fit."""

    @abstractmethod
    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape, or None if the graph's does not fit."""

    @abstractmethod
    def turn(self, array: Array) -> Array:
        """Return the graph's array for a source array that fits."""

    @abstractmethod
    def turn_back(self, array: Array) -> Array:
        """Return the source's array for a graph array that fits."""

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the one shape."""
        shape = self.shape(shapes[0]) if len(shapes) == 1 else None
        if shape is None:
            raise self.wrong(shapes, self.source)
        return [shape]

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the one shape."""
        shape = self.source_shape(shapes[0]) if len(shapes) == 1 else None
        if shape is None:
            raise self.wrong(shapes, self.target)
        return [shape]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the one array."""
        self.shapes([array.shape for array in arrays])
        return [self.turn(arrays[0])]

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the one array."""
        self.source_shapes([array.shape for array in arrays])
        return [self.turn_back(arrays[0])]


@dataclass(frozen=True)
class Keep(OneToOne):
    """The unchanged array: every bias, and most layers of Keras in TensorFlow.

    >>> Keep().shapes([(784, 300)])
    [(784, 300)]
    """

    name: ClassVar[str] = "keep"
    source: ClassVar[str] = "one array"
    target: ClassVar[str] = "one array"
    ranks: ClassVar[range] = range(33)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the same shape."""
        return shape if len(shape) in self.ranks else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the same shape."""
        return self.shape(shape)

    def turn(self, array: Array) -> Array:
        """Return the same array."""
        return array

    def turn_back(self, array: Array) -> Array:
        """Return the same array."""
        return array

    def _lazily(
        self,
        change: Callable[[Sequence[Array]], list[Array]],
        tensors: Sequence[Tensor],
        names: Sequence[str],
        shapes: Sequence[Shape],
    ) -> list[Tensor]:
        del change, shapes
        return [tensors[0].renamed(names[0])]


class ChannelsLast(OneToOne):
    """A layout that moves a kernel's window to the front and swaps the other two axes; both directions are views."""

    ranks: ClassVar[Sequence[int]]

    def shape(self, shape: Shape) -> Shape | None:
        """Return the graph's shape."""
        return tuple(shape[axis] for axis in channels_last(len(shape))) if len(shape) in self.ranks else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the source's shape."""
        return (shape[-1], shape[-2], *shape[:-2]) if len(shape) in self.ranks else None

    def turn(self, array: Array) -> Array:
        """Return a view."""
        return array.transpose(channels_last(array.ndim))

    def turn_back(self, array: Array) -> Array:
        """Return a view."""
        return array.transpose(np.argsort(channels_last(array.ndim)))


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the permutation from `[outputs, inputs, window ...]` to `[window ..., inputs, outputs]`.

    >>> channels_last(2), channels_last(4)
    ((1, 0), (2, 3, 1, 0))
    """
    return (*range(2, rank), 1, 0)


def _pieces(array: Array) -> Iterator[memoryview]:
    """Yield an array's little-endian bytes in C order in pieces, for any memory layout."""
    little = array.dtype.newbyteorder("<")
    rows = max(1, PIECE // max(1, array[0].nbytes)) if array.size else 1
    for start in range(0, len(array), rows):
        piece = _in_c_order(array[start : start + rows]).astype(little, copy=False)
        yield memoryview(piece.reshape(-1).view(np.uint8).data).toreadonly()


def _in_c_order(array: Array) -> Array:
    """Return an array in C order; an array that is already in C order is not copied."""
    if array.flags.c_contiguous:
        return array
    ordered = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[-1], COLUMNS):
        ordered[..., start : start + COLUMNS] = array[..., start : start + COLUMNS]
    return ordered
