"""Batch normalisation: its parts have other names in each framework, and its epsilon another value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.foreign.layouts.layout import Layout, Shape


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
        """Refuse epsilons that cannot be."""
        if min(self.epsilon, self.target_epsilon) < 0:
            raise PlanError(f"{self}: expected epsilons not below 0")

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the same shapes."""
        if len(shapes) not in (1, 2) or len({*shapes}) > 1 or len(shapes[0]) != 1:
            raise self.wrong(shapes, "a variance [channels], or gamma and variance of one shape")
        return list(shapes)

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the same shapes."""
        return self.shapes(shapes)

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the vectors with the difference folded in."""
        return self._folded(arrays, self.epsilon, self.target_epsilon)

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the vectors with the difference taken out."""
        return self._folded(arrays, self.target_epsilon, self.epsilon)

    def _folded(self, arrays: Sequence[Array], old: float, new: float) -> list[Array]:
        self.shapes([array.shape for array in arrays])
        *gamma, variance = arrays
        wide = variance.astype(np.float64)
        if gamma:
            return [self._scaled(gamma[0], wide, old, new), variance]
        moved = wide + (old - new)
        if (moved < 0).any():
            least = float(wide.min())
            raise PlanError(f"{self}: a variance of {least:g} would be negative; gamma and variance together can be")
        return [moved.astype(variance.dtype)]

    def _scaled(self, gamma: Array, variance: Array, old: float, new: float) -> Array:
        if (variance + old <= 0).any():
            raise PlanError(f"{self}: a variance of {float(variance.min()):g} with epsilon {old:g} has no root")
        scaled = gamma.astype(np.float64) * np.sqrt((variance + new) / (variance + old))
        return scaled.astype(gamma.dtype)
