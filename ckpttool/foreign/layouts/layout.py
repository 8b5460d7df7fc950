"""What a layout is: how a layer's weights lie in a source's arrays, and how in those of the graph."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, Self

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array

Shape = tuple[int, ...]


class Layout(ABC):
    """A way from a source's arrays to a graph's, and back; a subclass is a frozen dataclass of its options.

    `apply` and `invert` keep the dtype and give views where they can, so that nothing large is copied twice. All four
    methods refuse what does not fit with a PlanError.
    """

    name: ClassVar[str]

    @abstractmethod
    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of what `apply` gives for source arrays of these shapes."""

    @abstractmethod
    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of what `invert` gives for the graph's arrays of these shapes."""

    @abstractmethod
    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the graph's arrays for the source's, both in the order in which a rule lists them."""

    @abstractmethod
    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the source's arrays for the graph's."""

    def fitted(self, shapes: Sequence[Shape]) -> Self:
        """Return the layout with the options that a source's shapes say where none are given; by default, itself."""
        del shapes
        return self

    def made_of(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return `shapes`, and none where the layout does not fit."""
        try:
            return self.shapes(shapes)
        except PlanError:
            return []

    def __str__(self) -> str:
        """Return the call as a rule has it, without the options that have their defaults."""
        values = [(option, getattr(self, option.name)) for option in options(type(self))]
        given = [f"{option.name}={value}" for option, value in values if value != option.default]
        return f"{self.name}({', '.join(given)})" if given else self.name

    def wrong(self, found: Sequence[Shape], expected: str) -> PlanError:
        """Return an error that says which shapes were found."""
        shapes = " ".join(str(list(shape)) for shape in found) or "nothing"
        return PlanError(f"{self}: found {shapes}, expected {expected}")


def options(kind: type[Layout]) -> tuple[Field[Any], ...]:
    """Return the options of a layout, the fields of its dataclass."""
    return fields(kind)  # type: ignore[arg-type]


class OneToOne(Layout):
    """A layout of one array, such as a kernel; a subclass says what becomes of a shape and of an array."""

    source: ClassVar[str]
    """The source's shape, in words."""
    target: ClassVar[str]
    """The graph's shape, in words."""

    @abstractmethod
    def shape(self, shape: Shape) -> Shape | None:
        """Return the shape that the graph has; None where this one does not fit."""

    @abstractmethod
    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the shape that the source has; None where this one does not fit."""

    @abstractmethod
    def turn(self, array: Array) -> Array:
        """Return an array that fits as the graph has it."""

    @abstractmethod
    def turn_back(self, array: Array) -> Array:
        """Return an array that fits as the source has it."""

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the one shape."""
        found = self.shape(shapes[0]) if len(shapes) == 1 else None
        if found is None:
            raise self.wrong(shapes, self.source)
        return [found]

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the one shape."""
        found = self.source_shape(shapes[0]) if len(shapes) == 1 else None
        if found is None:
            raise self.wrong(shapes, self.target)
        return [found]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the one array."""
        self.shapes([array.shape for array in arrays])
        return [self.turn(arrays[0])]

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the one array."""
        self.source_shapes([array.shape for array in arrays])
        return [self.turn_back(arrays[0])]


class ChannelsLast(OneToOne):
    """A layout that moves a kernel's window first and turns the other two dimensions over; both ways are views."""

    ranks: ClassVar[Sequence[int]]

    def shape(self, shape: Shape) -> Shape | None:
        """Return the sizes in the graph's order."""
        return tuple(shape[axis] for axis in channels_last(len(shape))) if len(shape) in self.ranks else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the sizes in the source's order."""
        return (shape[-1], shape[-2], *shape[:-2]) if len(shape) in self.ranks else None

    def turn(self, array: Array) -> Array:
        """Return a view."""
        return array.transpose(channels_last(array.ndim))

    def turn_back(self, array: Array) -> Array:
        """Return a view."""
        return array.transpose(np.argsort(channels_last(array.ndim)))


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the order from `[outputs, inputs, window ...]` to `[window ..., inputs, outputs]`.

    >>> channels_last(2), channels_last(4)
    ((1, 0), (2, 3, 1, 0))
    """
    return (*range(2, rank), 1, 0)
