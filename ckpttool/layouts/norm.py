"""Normalisations: frameworks differ in epsilons and in names of parts, and Caffe stores sums instead of averages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.calls import not_negative
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import Keep, Layout, Shape

FACTOR: Shape = (1,)
"""The shape of the factor by which Caffe divides its sums."""


@dataclass(frozen=True)
class BatchNorm(Layout):
    """The moving variance of a batch normalisation whose epsilon is another in the graph, so that outputs are equal.

    The variance alone becomes `variance + epsilon - target_epsilon`, which is refused where it would be negative. Of
    gamma and the variance, in this order, gamma becomes
    `gamma * sqrt((variance + target_epsilon) / (variance + epsilon))`, and the variance stays. Both are computed in
    float64 and rounded once, so the way back may differ in the last bit.

    PyTorch's epsilon is 1e-5, that of Keras and tf.layers 1e-3. PyTorch's weight, bias, running_mean and running_var
    are gamma, beta, moving_mean and moving_variance, for all of which `keep` does where the epsilons are equal; its
    num_batches_tracked has no counterpart.

    >>> BatchNorm(1e-5, 1e-3).apply([np.array([0.5, 1.0])])[0].tolist()
    [0.49901, 0.99901]
    """

    name: ClassVar[str] = "batch_norm"
    epsilon: float
    target_epsilon: float

    def __post_init__(self) -> None:
        """Refuse negative epsilons."""
        not_negative("epsilon", self.epsilon)
        not_negative("target_epsilon", self.target_epsilon)

    @property
    def difference(self) -> str:
        """A description of the difference for which it compensates."""
        return (
            f"the epsilon of batch normalisations is {self.epsilon:g} in the source (PyTorch's default, where the file "
            f"does not say it) and {self.target_epsilon:g} in the graph"
        )

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the same shapes."""
        if len(shapes) not in (1, 2) or len({*shapes}) > 1 or len(shapes[0]) != 1:
            raise self.wrong(shapes, "a variance [channels], or gamma and variance of one shape")
        return list(shapes)

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the same shapes."""
        return self.shapes(shapes)

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the vectors adjusted to the target's epsilon."""
        return self._folded(arrays, self.epsilon, self.target_epsilon)

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the vectors adjusted to the source's epsilon."""
        return self._folded(arrays, self.target_epsilon, self.epsilon)

    def _folded(self, arrays: Sequence[Array], old: float, new: float) -> list[Array]:
        self.shapes([array.shape for array in arrays])
        *gamma, variance = arrays
        wide = variance.astype(np.float64)
        if gamma:
            if (wide + old <= 0).any():
                raise PlanError(f"{self}: a variance of {float(wide.min()):g} with epsilon {old:g} has no root")
            scaled = gamma[0].astype(np.float64) * np.sqrt((wide + new) / (wide + old))
            return [scaled.astype(gamma[0].dtype), variance]
        moved = wide + (old - new)
        if (moved < 0).any():
            least = float(wide.min())
            raise PlanError(f"{self}: a variance of {least:g} would be negative; gamma and variance together can be")
        return [moved.astype(variance.dtype)]


@dataclass(frozen=True)
class CaffeBatchNorm(Layout):
    """The blobs of a BatchNorm layer, mean, variance and factor, and those of the Scale layer behind it, if any.

    Caffe keeps sums: what normalises is mean / factor and variance / factor, or zeros where the factor is 0. They
    become moving_mean and moving_variance; gamma and beta of the Scale layer stay. Caffe's epsilon is 1e-5; where the
    graph's is another, the difference is folded in as `batch_norm` does it. Quotients are made in float64 and rounded
    once. The way back gives the factor 1, which is the same layer.

    >>> parts = [np.array([4.0, 2.0]), np.array([1.0, 3.0]), np.array([2.0])]
    >>> [array.tolist() for array in CaffeBatchNorm().apply(parts)]
    [[2.0, 1.0], [0.5, 1.5]]
    """

    name: ClassVar[str] = "caffe_batch_norm"
    epsilon: float = 1e-5
    target_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse negative epsilons."""
        BatchNorm(self.epsilon, self.target_epsilon)

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes without the factor's."""
        if len(shapes) < 3 or shapes[2] != FACTOR or not _fit([*shapes[:2], *shapes[3:]]):
            raise self.wrong(
                shapes, "mean [channels], variance [channels], factor [1], and none or gamma or gamma, beta"
            )
        return [*shapes[:2], *shapes[3:]]

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes with the factor's."""
        if not _fit(shapes):
            raise self.wrong(shapes, "moving_mean and moving_variance [channels], and none or gamma or gamma, beta")
        return [*shapes[:2], FACTOR, *shapes[2:]]

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the moving statistics, and the parameters of the Scale layer."""
        self.shapes([array.shape for array in arrays])
        mean, variance, factor, *scale = arrays
        return [_divided(mean, factor), *self._folded(_divided(variance, factor), scale, BatchNorm.apply)]

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the blobs of both layers, with the factor 1."""
        self.source_shapes([array.shape for array in arrays])
        mean, variance, *scale = arrays
        variance, *scale = self._folded(variance, scale, BatchNorm.invert)
        return [mean, variance, np.ones(FACTOR, mean.dtype), *scale]

    def _folded(
        self, variance: Array, scale: Sequence[Array], way: Callable[[BatchNorm, Sequence[Array]], list[Array]]
    ) -> list[Array]:
        """Return variance, gamma and beta for the other epsilon, in either direction; gamma is adjusted if present."""
        if self.epsilon == self.target_epsilon:
            return [variance, *scale]
        *gamma, variance = way(BatchNorm(self.epsilon, self.target_epsilon), [*scale[:1], variance])
        return [variance, *gamma, *scale[1:]]


def _fit(shapes: Sequence[Shape]) -> bool:
    """Return whether these are the shapes of one layer: statistics, and none, one or both of gamma and beta."""
    return len(shapes) in (2, 3, 4) and len({*shapes}) == 1 and len(shapes[0]) == 1


def _divided(total: Array, factor: Array) -> Array:
    """Return a sum divided by the factor; zeros if the factor is 0."""
    if not factor[0]:
        return np.zeros_like(total)
    return (total.astype(np.float64) / np.float64(factor[0])).astype(total.dtype)


@dataclass(frozen=True)
class LayerNorm(Keep):
    """The scale or the shift of a layer normalisation: the same array everywhere, under another name.

    The epsilon belongs to a variance that each row has for itself, so no weights can make up for another one: the
    graph's must be the source's (PyTorch 1e-5, Keras 1e-3, BERT 1e-12).
    """

    name: ClassVar[str] = "layer_norm"
    source: ClassVar[str] = "a scale or a shift"
    target: ClassVar[str] = "a scale or a shift"
    ranks: ClassVar[range] = range(1, 33)
