"""Parametrisations: a weight that is computed from several tensors, which PyTorch saves instead of it.

Each computes the weight, and then applies another layout to it: `of`, by default none.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Self

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import Keep, Layout, Shape

KEEP = Keep()
ALIKE, APART = 0.7, 0.1
"""The minimum cosine between u and Wv, as after a step of the power iteration, and its minimum lead over others."""
LEAST = 1e-12
"""The minimum of a norm, as in torch.nn.functional.normalize."""


class Parametrisation(Layout):
    """A layout of a weight's parts; a subclass computes the weight from them, and the parts from a weight."""

    words: ClassVar[str]
    """The shapes of the parts, for messages."""
    of: Layout

    @abstractmethod
    def weight_shape(self, shapes: Sequence[Shape]) -> Shape | None:
        """Return the weight's shape, or None if these are not the shapes of its parts."""

    @abstractmethod
    def part_shapes(self, weight: Shape) -> list[Shape]:
        """Return the shapes of the parts of a weight."""

    @abstractmethod
    def weight(self, arrays: Sequence[Array]) -> Array:
        """Return the weight, in float64."""

    @abstractmethod
    def parts(self, weight: Array) -> list[Array]:
        """Return parts that result in a weight."""

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shape of the weight in the layout `of`."""
        weight = self.weight_shape(shapes)
        if weight is None:
            raise self.wrong(shapes, self.words)
        return self.of.shapes([weight])

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the parts."""
        (weight,) = self.of.source_shapes(shapes)
        return self.part_shapes(weight)

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the weight, rounded once, in the layout `of`."""
        self.shapes([array.shape for array in arrays])
        return self.of.apply([self.weight(arrays).astype(arrays[0].dtype)])

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the parts."""
        (weight,) = self.of.invert(arrays)
        return [part.astype(weight.dtype) for part in self.parts(weight)]


@dataclass(frozen=True)
class WeightNorm(Parametrisation):
    """Weight normalisation, of PyTorch, TensorFlow Addons and others: g, v make the weight g * v / |v|.

    A g with as many dimensions as v says over which the norm is taken: those where it has size 1. One that is a vector
    belongs to the dimension `dim`, one without dimensions to the whole. The way back gives the weight as v, and its
    norms as g, along `dim`.

    >>> WeightNorm().shapes([(8, 1, 1, 1), (8, 3, 5, 5)])
    [(8, 3, 5, 5)]
    >>> from ckpttool.layouts.conv import Conv
    >>> str(WeightNorm(Conv())), WeightNorm(Conv()).shapes([(8, 1, 1, 1), (8, 3, 5, 5)])
    ('weight_norm(of=conv)', [(5, 5, 3, 8)])
    """

    name: ClassVar[str] = "weight_norm"
    words: ClassVar[str] = "g [outputs, 1 ...] and v [outputs, ...]"
    of: Layout = KEEP
    dim: int | None = 0

    def fitted(self, shapes: Sequence[Shape]) -> Self:
        """Return the layout with the dimension that g has."""
        if self.weight_shape(shapes) is None or len(shapes[0]) not in (0, len(shapes[1])):
            return self
        own = [axis for axis, size in enumerate(shapes[0]) if size > 1]
        return replace(self, dim=own[0] if own else self.dim if shapes[0] else None)

    def weight_shape(self, shapes: Sequence[Shape]) -> Shape | None:
        """Return the shape of v, or None if g does not fit it."""
        return shapes[1] if len(shapes) == 2 and self._fits(*shapes) else None

    def part_shapes(self, weight: Shape) -> list[Shape]:
        """Return the shapes of g, with a size for the dimension alone, and of v."""
        if self.dim is None:
            return [(), weight]
        if not -len(weight) <= self.dim < len(weight):
            raise self.wrong([weight], f"a dimension {self.dim}")
        own = self.dim % len(weight)
        return [tuple(size if axis == own else 1 for axis, size in enumerate(weight)), weight]

    def weight(self, arrays: Sequence[Array]) -> Array:
        """Return g * v / |v|."""
        magnitude, direction = (array.astype(np.float64) for array in arrays)
        if magnitude.ndim == 1 < direction.ndim:
            magnitude = magnitude.reshape(self.part_shapes(direction.shape)[0])
        return direction * (magnitude / np.maximum(_norms(direction, magnitude.shape), LEAST))

    def parts(self, weight: Array) -> list[Array]:
        """Return the norms, and the weight."""
        return [_norms(weight.astype(np.float64), self.part_shapes(weight.shape)[0]), weight]

    def _fits(self, magnitude: Shape, direction: Shape) -> bool:
        if len(magnitude) == len(direction):
            own = [size for size, other in zip(magnitude, direction, strict=True) if size > 1 and size == other]
            return len(direction) > 1 and prod(magnitude) == prod(own) and len(own) < 2
        if len(magnitude) == 1:
            inside = self.dim is not None and -len(direction) <= self.dim < len(direction)
            return inside and direction[self.dim or 0] == magnitude[0]
        return not magnitude


@dataclass(frozen=True)
class SpectralNorm(Parametrisation):
    """Spectral normalisation of PyTorch: weight, u, v make the weight / u'Wv, W being the weight as a matrix.

    Its rows are the dimension `dim`; where none is given, that to which u and v fit, in size and then in direction, for
    PyTorch's default is another for transposed convolutions; `likely` is taken where directions do not tell. Without v,
    as PyTorch before 1.1 saves it, that which belongs to u is taken. There is no way back: what u and v divide by would
    have to be 1.

    >>> SpectralNorm().shapes([(8, 3, 5, 5), (8,), (75,)])
    [(8, 3, 5, 5)]
    """

    name: ClassVar[str] = "spectral_norm"
    words: ClassVar[str] = "a weight [outputs, ...], u [outputs], v of the others' product"
    of: Layout = KEEP
    dim: int | None = None
    likely: int | None = None

    def weight_shape(self, shapes: Sequence[Shape]) -> Shape | None:
        """Return the weight's shape, or None if u and v do not fit it."""
        return shapes[0] if len(shapes) in (2, 3) and self._dims(shapes) else None

    def part_shapes(self, weight: Shape) -> list[Shape]:
        """Refuse.

        Raises:
            PlanError: there is no way back.
        """
        raise PlanError(
            f"{self}: there is no way back into a weight, u and v; export into a file whose weights were made plain "
            "(torch.nn.utils.remove_spectral_norm, or parametrize.remove_parametrizations)"
        )

    def weight(self, arrays: Sequence[Array]) -> Array:
        """Return the weight divided by its estimated largest singular value."""
        weight, u, *rest = (array.astype(np.float64) for array in arrays)
        alike, largest = {}, {}
        for dim in self._dims([array.shape for array in arrays]):
            matrix = np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1)
            product = matrix @ (rest[0] if rest else _unit(matrix.T @ u))
            alike[dim], largest[dim] = float(u @ _unit(product)), float(u @ product)
        best, *others = sorted(alike, key=lambda dim: -alike[dim])
        if others and (alike[best] < ALIKE or alike[others[0]] > alike[best] - APART):
            if self.likely not in alike:
                raise PlanError(
                    f"{self}: u and v fit several dimensions of the weight {list(weight.shape)}, and their directions "
                    "do not tell which; `dim` in a rule says it: 0, for a transposed convolution 1, as PyTorch has it"
                )
            best = self.likely
        return weight / largest[best]

    def parts(self, weight: Array) -> list[Array]:
        """Refuse, as `part_shapes` does."""
        self.part_shapes(weight.shape)
        return []

    def _dims(self, shapes: Sequence[Shape]) -> list[int]:
        """Return the dimensions whose sizes u and v fit."""
        weight, *vectors = shapes
        asked = range(len(weight)) if self.dim is None else [self.dim % len(weight)] if weight else []
        sizes = {dim: [(weight[dim],), (prod(weight[:dim] + weight[dim + 1 :]),)] for dim in asked if len(weight) > 1}
        return [dim for dim in sizes if sizes[dim][: len(vectors)] == vectors]


@dataclass(frozen=True)
class Pruned(Parametrisation):
    """Pruning of PyTorch: weight, mask make the weight * mask; the way back gives a mask of what is not 0.

    >>> [array.tolist() for array in Pruned().apply([np.array([3.0, 4.0]), np.array([1.0, 0.0])])]
    [[3.0, 0.0]]
    """

    name: ClassVar[str] = "pruned"
    words: ClassVar[str] = "a weight and a mask of one shape"
    of: Layout = KEEP

    def weight_shape(self, shapes: Sequence[Shape]) -> Shape | None:
        """Return the shape of both, or None if they differ."""
        return shapes[0] if len(shapes) == 2 and len({*shapes}) == 1 else None

    def part_shapes(self, weight: Shape) -> list[Shape]:
        """Return the shape twice."""
        return [weight, weight]

    def weight(self, arrays: Sequence[Array]) -> Array:
        """Return the product."""
        return arrays[0].astype(np.float64) * arrays[1].astype(np.float64)

    def parts(self, weight: Array) -> list[Array]:
        """Return the weight, and a mask of its nonzero elements."""
        return [weight, weight != 0]


def _norms(array: Array, shape: Shape) -> Array:
    """Return norms over the dimensions that have size 1 in a shape, or over all if the shape is empty."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1) if shape else tuple(range(array.ndim))
    return np.asarray(np.sqrt((array**2).sum(axes, keepdims=bool(shape))))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), LEAST))
