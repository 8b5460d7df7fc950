"""The learning rate range test: steps with increasing rates on a copy of a model."""

from dataclasses import replace
from math import inf, isfinite

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.data.files import Source
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
from ckpttool.training.rate_curve import Point, RateCurve, Smoother, bearable, diverged_at
from ckpttool.training.trainer import Trainer

WIDEST = 1e30
"""The maximum ratio of highest to lowest rate: the growth is computed in float32."""
WINDOW = 20
"""Losses are smoothed over this fraction of the steps, by which the curve lags behind."""
INCHES = (7.0, 4.0)
"""The size of the figure."""


@accepts_watch
def find_learning_rate(
    model: Model,
    data: Source,
    options: Options,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    callbacks: Callbacks = (),
) -> RateCurve:
    """Train a copy of a model for some steps, with a rate that increases from `low` to `high`, and return its losses.

    The rate increases by the same factor at each step (Smith 2017, "Cyclical Learning Rates for Training
    Neural Networks"; exponential growth is from fastai). The test ends early if the loss diverges. Steps are
    those of `finetune`, starting from the model's optimizer state if it has one; the model itself is not changed.

    Args:
        model: The model.
        data: A path, or one of the other sources of rows, with labels.
        options: The options of training, which must not set a rate.
        low: The first rate.
        high: The last rate.
        steps: The number of rates to try.
        callbacks: One callback or several; they receive the plan and the rows.

    Raises:
        PlanError: the options set a rate, or the range is empty.
        CkptError: the graph, the data and the options are inconsistent.
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
    """Return a recipe whose rate increases in the graph over the steps of the run."""
    recipe = options.recipe
    if recipe is None:
        raise PlanError("`training_op` has its own rate: specify an `optimizer` instead")
    if recipe.update_rule.learning_rate is not None:
        raise PlanError(f"`optimizer` {recipe.optimizer!r} has a rate, but this command determines the rate: omit it")
    for name in ("lr", "schedule", "warmup"):
        if getattr(recipe, name) != getattr(Recipe(), name):
            raise PlanError(f"`{name}` sets a rate, but this command determines the rate: omit it")
    if options.stages is not None:
        raise PlanError("`stages` trains other layers later: determine the rate of one stage, with `train`")
    return replace(recipe, lr=str(low), schedule=f"exponential({high / low})")


def _run(training: Trainer, rates: list[float]) -> RateCurve:
    """Run a step with each rate, until the loss diverges."""
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


def draw_rates(picture: Picture, curve: RateCurve, title: str) -> None:
    """Draw losses over rates, with a line at the suggestion."""
    figure = picture.figure(*INCHES)
    axis = figure.subplots()
    rates = [point.rate for point in curve.points]
    axis.plot(rates, [point.loss for point in curve.points], color="#c8c8c8", linewidth=1, label="loss of a batch")
    axis.plot(rates, [point.smoothed for point in curve.points], color="#2a6fbb", label="smoothed")
    if curve.suggestion is not None:
        axis.axvline(curve.suggestion, color="#d9622b", linestyle="--", label=f"suggestion {curve.suggestion:.2g}")
    low, high = curve.span
    below, beside = "learning rate, increasing with each step", 0.05 * (high - low) or 1.0
    axis.set(xscale="log", xlabel=below, ylabel="training loss", ylim=(low - beside, high + beside))
    axis.legend(frameon=False)
    found = "no rate suggested" if curve.suggestion is None else f"learning rate {curve.suggestion:.2g} is suggested"
    figure.suptitle(f"{title}: {found}, {counted(len(rates), 'step')}", fontsize=11, parse_math=False, wrap=True)
    picture.write(figure)
