"""The diagnosis of a layer: statistics of its activations and gradients, accumulated over batches, and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan, sqrt
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array

RATIO = 1e3
"""Gradients vanish or explode if their standard deviation is this many times smaller or larger than at the top."""
ENDS: dict[str, tuple[float, float]] = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0)}
"""The limits at which an activation saturates, by op type."""
NEAR = 0.025
"""An activation this close to a limit is saturated, as a fraction of the range."""
DEAD, SATURATED = 0.1, 0.5
"""The verdict mentions fractions of dead units and of saturated activations from these on."""


@dataclass(frozen=True)
class Diagnosis:
    """The statistics of a layer; unknown ones are None.

    `mean` and `std` are those of the activations `output`; `gradient_mean` and `gradient_std` those of the gradients of
    each row's own loss with respect to them. `dead` is the fraction of units (the last dimension) that are zero in
    all rows and positions, `saturated` that of activations near a limit of sigmoid, tanh or softsign.
    `gradient_to_weight` is the norm of the loss's gradient with respect to the weights, divided by their norm.
    """

    layer: str
    output: str
    activation: str | None
    mean: float
    std: float
    gradient_mean: float | None
    gradient_std: float | None
    dead: float
    saturated: float | None
    gradient_to_weight: float | None
    verdict: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return asdict(self)


class Probe:
    """Accumulates one layer's activations, their gradients and those of its weights, batch by batch."""

    def __init__(self, layer: str, output: str, activation: str | None, weights: Sequence[str]) -> None:
        """Take a layer's name, the tensor and the op type of its activation, and the ops of its trained variables."""
        self.layer, self.output, self.activation, self.weights = layer, output, activation, tuple(weights)
        self._values, self._gradients, self._rows = Spread(), Spread(), 0
        self._alive, self._near = np.zeros(1, bool), 0
        self._sums: dict[str, Array] = {}

    def add(self, values: Array, gradients: Mapping[str, Array], rows: int) -> None:
        """Add a batch: the activations, and the gradients of the batch's mean loss by op name."""
        self._rows += rows
        self._values.add(values)
        units = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)  # units are along the last dimension
        self._alive = self._alive | (units != 0).any(0)
        if self.activation in ENDS:
            low, high = ENDS[self.activation]
            margin = NEAR * (high - low)
            self._near += int(np.count_nonzero((values < low + margin) | (values > high - margin)))
        if self.output in gradients:
            self._gradients.add(gradients[self.output] * rows)
        for name in self.weights:
            if name in gradients:
                self._sums[name] = self._sums.get(name, 0.0) + gradients[name].astype(np.float64) * rows

    def diagnosis(self, weights: Mapping[str, Array]) -> Diagnosis:
        """Return the statistics, given the weights by op name; the verdict also needs the other layers."""
        known = self._gradients.count > 0
        size = _norm([weights[name] for name in self._sums])
        return Diagnosis(
            self.layer,
            self.output,
            self.activation,
            self._values.mean,
            self._values.std,
            self._gradients.mean if known else None,
            self._gradients.std if known else None,
            float(1 - self._alive.mean()),
            self._near / self._values.count if self.activation in ENDS else None,
            _norm(list(self._sums.values())) / self._rows / size if size else None,
        )


class Spread:
    """The running mean and standard deviation of values that arrive in pieces.

    >>> spread = Spread()
    >>> for piece in ([1.0, 2.0], [3.0]):
    ...     spread.add(np.array(piece))
    >>> spread.mean, round(spread.std, 3)
    (2.0, 0.816)
    """

    def __init__(self) -> None:
        """Start without values; their mean is NaN."""
        self.count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: Array) -> None:
        """Add values."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.count += values.size
            self._sum += float(values.sum(dtype=np.float64))
            self._squares += float(np.square(values, dtype=np.float64).sum())

    @property
    def mean(self) -> float:
        """The mean."""
        return self._sum / self.count if self.count else nan

    @property
    def std(self) -> float:
        """The standard deviation."""
        if not self.count or not isfinite(self._squares):
            return nan
        return sqrt(max(0.0, self._squares / self.count - self.mean**2))


def with_verdicts(layers: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return the diagnoses, from the lowest layer to the top, each with a verdict."""
    spreads = [each.gradient_std for each in layers if each.gradient_std is not None and each.gradient_std > 0]
    return [replace(each, verdict=_verdict(each, spreads[-1] if spreads else nan)) for each in layers]


def _verdict(layer: Diagnosis, top: float) -> str:
    """Return everything that is wrong with a layer; `top` is the standard deviation of the gradients at the top."""
    if not isfinite(layer.std) or not isfinite(layer.gradient_std or 0.0):
        return "not finite"
    gradient = layer.gradient_std
    wrong = [
        ("no gradient", gradient is None),
        ("vanishing", gradient is not None and gradient < top / RATIO),
        ("exploding", gradient is not None and gradient > top * RATIO),
        (f"dead {layer.dead:.0%}", layer.dead >= DEAD),
        (f"saturated {layer.saturated or 0:.0%}", (layer.saturated or 0) >= SATURATED),
    ]
    return ", ".join(text for text, holds in wrong if holds) or "ok"


def _norm(arrays: Sequence[Array]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))
