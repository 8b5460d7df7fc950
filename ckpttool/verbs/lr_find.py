"""The learning rate range test: some steps with rates that grow, on a copy of a model, to see which are good."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.model.model import Model
from ckpttool.model.unfreezing import with_unfrozen
from ckpttool.runtime.configure import require_threads
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.defaults import settled
from ckpttool.training.options import Options
from ckpttool.training.prepare import check_options
from ckpttool.training.trainer import Trainer

WIDEST = 1e30
"""How many times the lowest rate the highest may be: the growth is computed in float32."""
WINDOW = 20
"""Losses are smoothed over one part in so many of the steps: the curve lags behind by that much of the range."""
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
INCHES = (7.0, 4.0)
"""The size of the picture."""


@accepts_watch
def find_learning_rate(
    model: Model,
    data: str | Path,
    options: Options,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    callbacks: Callbacks = (),
) -> "RateCurve":
    """Train a copy of a model for some steps, with a rate that grows from `low` to `high`, and return its losses.

    The rate grows by the same factor from each step to the next (Smith 2017, "Cyclical Learning Rates for Training
    Neural Networks"; exponential growth is from fastai). The test ends early where the loss diverges. Steps are
    taken as `finetune` would, from the model's own optimizer state on if it has one; the model itself is not changed.

    Args:
        model: The model.
        data: A path, or one of the other sources of rows, with labels.
        options: What is trained and how; they may not set a rate.
        low: The first rate.
        high: The last rate.
        steps: How many rates to try.
        callbacks: One callback or several; they are passed the plan and the rows.

    Raises:
        PlanError: the options set a rate, or the range is empty.
        CkptError: the graph, the data or the options do not fit one another.
    """
    if not (0 < low < high < inf and high / low <= WIDEST and steps > 1):
        asked = f"{counted(steps, 'step')} from {low} to {high}"
        raise PlanError(f"{asked}: expected two steps or more, from a rate above 0 to one at most 1e30 times as high")
    tested = replace(options, recipe=_growing(options, low, high))
    require_threads(options.threads)
    model, _, unfrozen = with_unfrozen(model, options.unfreeze, options.roles)
    bound = Bound.of(model, options.roles, ("inputs", "labels"), options.classes, options.objective, options.seed)
    bound = bound.preprocessing(options.preprocess)
    tested = replace(tested, roles=bound.given)
    frozen = check_options(bound.model, tested)
    bound = bound.with_training_rows(data, options.held_out, options.features)
    tested, notes = settled(tested, bound)
    callback = CallbackList(callbacks)
    callback.on_notes([*unfrozen, *bound.notes])
    training = Trainer(bound, tested, callback, length=steps - 1, frozen=frozen)  # the last step has the whole factor
    callback.on_notes(notes)
    return _run(training, np.geomspace(low, high, steps).tolist())


def _growing(options: Options, low: float, high: float) -> Recipe:
    """Return a recipe whose rate grows in the graph, over as many steps as the run has."""
    recipe = options.recipe
    if recipe is None:
        raise PlanError("`training_op` has a rate of its own: a rate can be looked for with an `optimizer`")
    if recipe.update_rule.learning_rate is not None:
        raise PlanError(f"`optimizer` {recipe.optimizer!r} has a rate, which is what is looked for: leave it out")
    for name in ("lr", "schedule", "warmup"):
        if getattr(recipe, name) != getattr(Recipe(), name):
            raise PlanError(f"`{name}` sets a rate, which is what is looked for: leave it out")
    if options.stages is not None:
        raise PlanError("`stages` trains other layers later: look for the rate of one stage, with `train`")
    return replace(recipe, lr=str(low), schedule=f"exponential({high / low})")


def _run(training: Trainer, rates: list[float]) -> "RateCurve":
    """Take a step with each rate, until the loss diverges."""
    window = len(rates) // WINDOW
    smoother, points, bound = Smoother(window), list[Point](), inf
    for number, rate in enumerate(rates):
        epoch, batch = divmod(number, training.batches)
        loss = training.take(epoch + 1, batch, 1, number).total
        if isfinite(loss):
            points.append(Point(rate, loss, smoother.add(loss)))
        if not isfinite(loss) or points[-1].smoothed > bound:
            return RateCurve(points, window, diverged_at(points, bound, rate))
        if number >= window:
            bound = bearable([point.smoothed for point in points[window:]])
    return RateCurve(points, window)


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


@dataclass(frozen=True)
class RateCurve:
    """The result of a range test: a point for each step, and the rate at which the loss diverged, None if it did not.

    The first `window` points are means of few losses, so no rate is chosen among them. The suggestions are None where
    the loss never fell by more than its noise.
    """

    points: Sequence[Point]
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


def draw_rates(picture: Picture, curve: RateCurve) -> None:
    """Draw losses over rates, and a line at the suggestion."""
    figure = picture.figure(*INCHES)
    axis = figure.subplots()
    rates = [point.rate for point in curve.points]
    axis.plot(rates, [point.loss for point in curve.points], color="#c8c8c8", linewidth=1, label="loss of a batch")
    axis.plot(rates, [point.smoothed for point in curve.points], color="#2a6fbb", label="smoothed")
    if curve.suggestion is not None:
        axis.axvline(curve.suggestion, color="#d9622b", linestyle="--", label=f"suggestion {curve.suggestion:.2g}")
    low, high = curve.span
    beside = 0.05 * (high - low) or 1.0
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - beside, high + beside))
    axis.legend(frameon=False)
    picture.write(figure)
