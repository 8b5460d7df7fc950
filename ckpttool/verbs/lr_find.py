"""The learning rate range test: some steps with rates that grow, on a copy of a model, to see which are good."""

from dataclasses import replace
from math import inf, isfinite
from pathlib import Path

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.convolutions import convolves
from ckpttool.model.model import Model
from ckpttool.runtime.configure import suit_tensorflow
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.prepare import check_options
from ckpttool.training.run import Options
from ckpttool.training.training import Training, open_splits
from ckpttool.verbs.rates.curve import WINDOW, Point, RateCurve, Smoother, bearable, diverged_at

WIDEST = 1e30
"""How many times the lowest rate the highest may be: the growth is computed in float32."""


@accepts_watch
def find_learning_rate(
    model: Model,
    data: str | Path,
    options: Options,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    callbacks: Callbacks = (),
) -> RateCurve:
    """Train a copy of a model for some steps, with a rate that grows from `low` to `high`, and return its losses.

    The rate grows by the same factor from each step to the next (Smith 2017, "Cyclical Learning Rates for Training
    Neural Networks"; exponential growth is from fastai). The test ends early where the loss diverges. Steps are
    taken as `finetune` would, from the model's own optimizer state on if it has one; the model itself is not changed.

    Raises:
        PlanError: the options say a rate, or the range is none.
        CkptError: the graph, the data or the options do not fit one another.
    """
    if not (0 < low < high < inf and high / low <= WIDEST and steps > 1):
        found = f"{steps} steps from {low} to {high}"
        raise PlanError(f"{found}: expected two steps or more, from a rate above 0 to one at most 1e30 times as high")
    tested = replace(options, recipe=_growing(options, low, high))
    suit_tensorflow(convolves(model.graph), options.threads)
    check_options(model, tested)
    splits = open_splits(model, data, options)
    # the last step has the whole factor
    training = Training(model, splits, tested, CallbackList(callbacks), length=steps - 1)
    return _run(training, np.geomspace(low, high, steps).tolist())


def _growing(options: Options, low: float, high: float) -> Recipe:
    """Return a recipe whose rate grows in the graph, over as many steps as the run has."""
    recipe = options.recipe
    if recipe is None:
        raise PlanError("--train-op has a rate of its own: a rate can be looked for with an --optimizer")
    if recipe.update_rule.learning_rate is not None:
        raise PlanError(f"--optimizer {recipe.optimizer!r} says a rate, which is what is looked for: leave it out")
    for name in ("lr", "schedule", "warmup"):
        if getattr(recipe, name) != getattr(Recipe(), name):
            raise PlanError(f"--{name} says a rate, which is what is looked for: leave it out")
    if options.stages is not None:
        raise PlanError("--stages trains other layers later: look for the rate of one stage, with --train")
    return replace(recipe, lr=str(low), schedule=f"exponential({high / low})")


def _run(training: Training, rates: list[float]) -> RateCurve:
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
