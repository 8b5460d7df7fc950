"""The curve of a range test: losses by rates that grow, when they have diverged, and which rate they suggest."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from ckpttool.core.tensors import Array

DIVERGED = 3.0
"""A test is over when the loss has risen by so many times the best one: it is four times as large then."""
SMALLEST = 0.1
"""For losses near or below zero: of the descent so far, what counts as the size of the best at least."""
NOISE = 2.0
"""How many standard deviations of a batch's loss a descent must be deep; chance alone hardly ever gives 1.6."""
FLAT = 1e-3
"""The part of the loss that a descent must be deep, also where all batches have one loss."""
SAFETY = 10.0
"""How many times lower than the minimum's rate the suggestion is."""


@dataclass(frozen=True)
class RateCurve:
    """The result of a range test: a point for each step, and the rate at which the loss diverged, None if it did not.

    The first `window` points are means of few losses, so no rate is chosen among them. The suggestions are None where
    the loss never fell by more than its noise.
    """

    points: Sequence["Point"]
    window: int
    diverged: float | None = None

    @property
    def suggestion(self) -> float | None:
        """The rate to train with: a tenth of the minimum's, where the loss still falls well and no batch upsets it.

        On digits it was better than an optimizer's default rate more often than the other two were, which depend on
        where the range begins: a test learns while it goes on, so that a new head may be past its steepest descent
        long before the best rate. Where the loss falls to the end of the range the minimum is not known, and the
        valley's rate is the suggestion.
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
        """The rate at the minimum of the smoothed loss, about the highest that training bears."""
        return self.points[self._lowest].rate if self._falls else None

    @property
    def still_falling(self) -> bool:
        """Whether the minimum is at the end of the range, so that the range should go on."""
        return self._falls and self.diverged is None and self._lowest >= len(self.points) - 1 - self.window

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest smoothed loss, but for the last one, which may be out of all proportion."""
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
        """Whether the loss fell from where it began by more than the losses of batches differ, and is not flat."""
        if len(self.points) <= self.window or self._lowest < 2:
            return False
        losses = np.array([point.loss for point in self.points[: self._lowest + 1]])
        noise = np.diff(losses).std() / np.sqrt(2)
        first = losses[: max(2, 2 * self.window)].mean()
        return bool(first - self._smoothed[self._lowest] > max(NOISE * noise, FLAT * abs(first)))


@dataclass(frozen=True)
class Point:
    """A step: its rate, its batch's loss before the weights moved by that rate, and the mean of the losses so far."""

    rate: float
    loss: float
    smoothed: float


class Smoother:
    """An exponential moving average with its bias corrected, as Adam has it (Kingma and Ba 2015)."""

    def __init__(self, window: float) -> None:
        """Take how many losses the average is over; 1 or less changes nothing."""
        self._kept = 1 - 1 / max(1.0, window)
        self._average, self._missing = 0.0, 1.0

    def add(self, value: float) -> float:
        """Return the average with one more value.

        >>> halves = Smoother(2)
        >>> halves.add(3.0), halves.add(0.0)
        (3.0, 1.0)
        """
        self._average += (1 - self._kept) * (value - self._average)
        self._missing *= self._kept
        return self._average / (1 - self._missing)


def bearable(smoothed: Sequence[float]) -> float:
    """Return the highest loss that does not say yet that the rates are too high, after some smoothed ones.

    >>> bearable([2.3, 0.5]), bearable([2.0, -1.0])
    (2.0, 2.0)
    """
    best = min(smoothed)
    return best + DIVERGED * max(abs(best), SMALLEST * (smoothed[0] - best))


def diverged_at(points: Sequence[Point], bound: float, last: float) -> float:
    """Return the rate from which on all losses are above a bound, `last` if those are none.

    The smoothed loss that ends a test is late by as much as it is smoothed over.
    """
    rates = [last]
    for point in reversed(points):
        if point.loss <= bound:
            break
        rates.append(point.rate)
    return rates[-1]


def longest_descent(values: Array) -> tuple[int, int]:
    """Return where the longest falling subsequence ends, and how many values it has.

    >>> longest_descent(np.array([5, 6, 4, 5, 3, 2, 9]))
    (5, 4)
    """
    lengths = np.ones(len(values), np.int64)
    for place, value in enumerate(values):
        before = lengths[:place][values[:place] > value]
        lengths[place] += before.max(initial=0)
    end = int(lengths.argmax())
    return end, int(lengths[end])
