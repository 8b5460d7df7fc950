"""The curve of a learning rate range test: losses at increasing rates, divergence, and the suggested rate."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array

DIVERGED = 3.0
"""The test ends when the loss has risen by this many times the best loss, that is, to four times as much."""
SMALLEST = 0.1
"""For losses near or below zero: this fraction of the descent so far is the minimum magnitude of the best loss."""
NOISE = 2.0
"""Minimum descent in standard deviations of a batch's loss; chance alone rarely gives 1.6."""
FLAT = 1e-3
"""Minimum descent as a fraction of the loss, for the case that all batches have the same loss."""
SAFETY = 10.0
"""The suggestion is the rate at the minimum divided by this."""


@dataclass(frozen=True)
class RateCurve:
    """The result of a range test: a point per step, and the rate at which the loss diverged, None if it did not.

    The first `window` points are means of few losses, so no rate is chosen among them. The suggestions are None if the
    loss never fell by more than its noise.
    """

    points: Sequence["Point"]
    window: int
    diverged: float | None = None

    @property
    def suggestion(self) -> float | None:
        """The rate to train with: a tenth of the minimum's, where the loss still falls well and no batch upsets it.

        On digits it beat an optimizer's default rate more often than the other two, which depend on the start of the
        range: the network learns during the test, so a new head may be past its steepest descent long before the best
        rate. If the loss falls to the end of the range, the minimum is unknown, and the valley's rate is suggested.
        """
        if self.still_falling or self.minimum is None:
            return self.valley
        return self.minimum / SAFETY

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest over log(rate), before its minimum (Smith 2017)."""
        if not self._falls:
            return None
        slopes = np.gradient(self._smoothed[: self._lowest + 1])
        return self.points[self.window + int(slopes[self.window :].argmin())].rate

    @property
    def valley(self) -> float | None:
        """The rate halfway down the longest descent: of losses, not all neighbours, each below the one before it."""
        if not self._falls:
            return None
        end, length = longest_descent(self._smoothed[self.window :])
        return self.points[self.window + end - length // 2].rate

    @property
    def minimum(self) -> float | None:
        """The rate at the minimum of the smoothed loss, about the highest that is still stable."""
        return self.points[self._lowest].rate if self._falls else None

    @property
    def still_falling(self) -> bool:
        """Whether the minimum is at the end of the range, so that the range should go on."""
        return self._falls and self.diverged is None and self._lowest >= len(self.points) - 1 - self.window

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest smoothed loss, without the last one, which may be far larger."""
        shown = self._smoothed[:-1] if len(self.points) > 1 else self._smoothed
        return float(shown.min(initial=inf)), float(shown.max(initial=-inf))

    def as_json(self) -> dict[str, Any]:
        """Return the suggestions and the points."""
        names = ("suggestion", "steepest", "valley", "minimum", "diverged")
        return {**{name: getattr(self, name) for name in names}, "curve": [asdict(point) for point in self.points]}

    @cached_property
    def _smoothed(self) -> Array:
        return np.array([point.smoothed for point in self.points])

    @cached_property
    def _lowest(self) -> int:
        return self.window + int(self._smoothed[self.window :].argmin())

    @cached_property
    def _falls(self) -> bool:
        """Whether the loss fell by more than the noise of batch losses, and is not flat."""
        if len(self.points) <= self.window or self._lowest < 2:
            return False
        losses = np.array([point.loss for point in self.points[: self._lowest + 1]])
        noise = np.diff(losses).std() / np.sqrt(2)
        first = losses[: max(2, 2 * self.window)].mean()
        return bool(first - self._smoothed[self._lowest] > max(NOISE * noise, FLAT * abs(first)))


@dataclass(frozen=True)
class Point:
    """A step: its rate, its batch's loss before the update with that rate, and the moving average of the losses."""

    rate: float
    loss: float
    smoothed: float


class Smoother:
    """A bias-corrected exponential moving average, as in Adam (Kingma and Ba 2015)."""

    def __init__(self, window: float) -> None:
        """Initialise with the window of the average; 1 or less does not smooth."""
        self._kept = 1 - 1 / max(1.0, window)
        self._average, self._missing = 0.0, 1.0

    def add(self, value: float) -> float:
        """Add a value and return the average.

        >>> halves = Smoother(2)
        >>> halves.add(3.0), halves.add(0.0)
        (3.0, 1.0)
        """
        self._average += (1 - self._kept) * (value - self._average)
        self._missing *= self._kept
        return self._average / (1 - self._missing)


def bearable(smoothed: Sequence[float]) -> float:
    """Return the loss above which the test has diverged, given the smoothed losses so far.

    >>> bearable([2.3, 0.5]), bearable([2.0, -1.0])
    (2.0, 2.0)
    """
    best = min(smoothed)
    return best + DIVERGED * max(abs(best), SMALLEST * (smoothed[0] - best))


def diverged_at(points: Sequence[Point], bound: float, last: float) -> float:
    """Return the rate from which on all losses are above a bound; `last` if there is none.

    The smoothed loss that ends a test lags behind by its window.
    """
    rates = [last]
    for point in reversed(points):
        if point.loss <= bound:
            break
        rates.append(point.rate)
    return rates[-1]


def longest_descent(values: Array) -> tuple[int, int]:
    """Return the end index of the longest decreasing subsequence, and its length.

    >>> longest_descent(np.array([5, 6, 4, 5, 3, 2, 9]))
    (5, 4)
    """
    lengths = np.ones(len(values), np.int64)
    for place, value in enumerate(values):
        before = lengths[:place][values[:place] > value]
        lengths[place] += before.max(initial=0)
    end = int(lengths.argmax())
    return end, int(lengths[end])
