"""Caffe's batch normalisation: sums with the factor that divides them, and scale and shift in a layer of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.tensors import Array
from ckpttool.foreign.layouts.layout import Layout, Shape
from ckpttool.foreign.layouts.norm import BatchNorm

FACTOR: Shape = (1,)


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
        """Refuse epsilons that cannot be."""
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
        """Return the moving statistics and what the Scale layer has."""
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
        """Return variance, gamma and beta for the other epsilon, one way or back; gamma takes it where there is one."""
        if self.epsilon == self.target_epsilon:
            return [variance, *scale]
        *gamma, variance = way(BatchNorm(self.epsilon, self.target_epsilon), [*scale[:1], variance])
        return [variance, *gamma, *scale[1:]]


def _fit(shapes: Sequence[Shape]) -> bool:
    """Say whether these are the vectors of one layer: statistics, and none, one or both of gamma and beta."""
    return len(shapes) in (2, 3, 4) and len({*shapes}) == 1 and len(shapes[0]) == 1


def _divided(total: Array, factor: Array) -> Array:
    """Return what a sum normalises with: zeros where nothing was counted."""
    if not factor[0]:
        return np.zeros_like(total)
    return (total.astype(np.float64) / np.float64(factor[0])).astype(total.dtype)
