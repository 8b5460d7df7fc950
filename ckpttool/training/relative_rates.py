"""Learning rates by relative gradient norms (Lee et al. 2023): layers with larger relative gradients get larger rates.

`auto-rgn` scales the base rate for each layer: by the norm of the loss's gradient with respect to its weights, divided
by the norm of the weights, as in `diagnose`, on training rows at the start of a run; the largest factor is 1. The
results become `lr` by pattern, so that the run, its plan and its report contain plain numbers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.runtime.build import with_gradients
from ckpttool.runtime.function import STEP_NUMBER, GraphFunction, runner
from ckpttool.runtime.recipe import AUTO_RATES
from ckpttool.runtime.schedules import RunSteps
from ckpttool.runtime.state import State, initial_value
from ckpttool.training.bound import Bound, mode
from ckpttool.training.options import BATCH_SIZE, Options
from ckpttool.training.prepare import Prepared, prepare

ROWS = 1000
"""Maximum number of rows for the gradients."""
LEAST = 1e-6
"""The minimum factor of the base rate, for a layer without a gradient."""


def with_found_rates(options: Options, notes: list[str], bound: Bound) -> tuple[Options, list[str]]:
    """Return the options with a rate for each trained layer, if requested, and notes with the rates.

    Raises:
        PlanError: a gradient is not finite.
    """
    recipe = options.recipe
    if recipe is None or recipe.lr != AUTO_RATES:
        return options, notes
    last = options.all_stages()[-1].train
    prepared = prepare(bound.model, replace(options, roles=bound.given), last, RunSteps(total=1))
    norms = relative_norms(bound, prepared, options)
    largest = max(norms.values(), default=0.0) or 1.0
    rates = {layer: recipe.rate * max(norm / largest, LEAST) for layer, norm in norms.items()}
    found = replace(recipe, lr=", ".join(f"{re.escape(layer)}={rate:.4g}" for layer, rate in rates.items()))
    return replace(options, recipe=found), [*notes, f"`lr` {AUTO_RATES}: {found.lr}"]


def relative_norms(bound: Bound, prepared: Prepared, options: Options) -> dict[str, float]:
    """Return for each trained layer the norm of the gradient divided by the norm of the weights.

    A layer whose weights are all zero gets the largest ratio of the others.

    Raises:
        PlanError: a norm is non-finite.
    """
    layers: dict[str, list[Variable]] = {}
    for name, variable in variables(prepared.graph).items():
        if variable.trainable and variable.kind == "weight" and name not in prepared.frozen.names:
            layers.setdefault(layer_of(variable.op) or variable.op, []).append(variable)
    trained = [variable for members in layers.values() for variable in members]
    gradients = _mean_gradients(bound, prepared, options, [variable.op for variable in trained])
    sizes = {name: _norm([initial_value(each, bound.model.checkpoint) for each in own]) for name, own in layers.items()}
    slopes = {name: _norm([gradients[each.op] for each in own if each.op in gradients]) for name, own in layers.items()}
    if wrong := [name for name in layers if not np.isfinite(slopes[name])]:
        raise PlanError(f"`lr` {AUTO_RATES}: the gradient for {wrong[0]} is not finite at the start")
    known = {name: slopes[name] / sizes[name] for name in layers if sizes[name]}
    return {name: known.get(name, max(known.values(), default=1.0)) for name in layers}


def _mean_gradients(bound: Bound, prepared: Prepared, options: Options, weights: Sequence[str]) -> Mapping[str, Array]:
    """Return the mean gradients of the loss with respect to weights, by op name, in training mode."""
    roles, split = prepared.roles, bound.splits[0]
    fed, training = [*roles.inputs, str(roles.labels)], mode(roles, True)
    loss = str(roles.loss)
    bare = without_training(prepared.graph, [loss, *fed, *training])
    graph, gradients = with_gradients(importable(bare), loss, [], weights)
    function = GraphFunction(graph, [*gradients.values()], [*fed, *training], options.seed)
    call = runner(function, State(function.variables, bound.model.checkpoint), training)
    arrays, sums = bound.feeds(split), dict[str, Array]()
    batches = _batches(split.rows, options.batch_size or BATCH_SIZE)
    for step, rows in enumerate(batches):
        batch = {name: np.asarray(array[rows]) for name, array in arrays.items()}
        results = call({**batch, STEP_NUMBER: np.int64(step)})
        for name, gradient in zip(gradients, results, strict=True):
            sums[name] = sums.get(name, 0.0) + gradient.astype(np.float64)
    return {name: total / len(batches) for name, total in sums.items()}


def _batches(rows: int, size: int) -> list[Array]:
    """Return evenly spaced row indices in whole batches: at most `ROWS` rows, but at least one batch."""
    size = min(size, rows)
    count = max(1, min(rows, ROWS) // size)
    return list(np.linspace(0, rows - 1, count * size).astype(np.int64).reshape(count, size))


def _norm(arrays: Sequence[Array]) -> float:
    return sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))
