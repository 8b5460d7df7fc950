"""The training op of a recipe: the rate of each variable, penalties, clipped gradients, updates, bounds on norms.

Penalties and bounds apply to kernels only: tensors of rank 2 or more.
"""

from collections.abc import Collection, Sequence
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.patterns import ByPattern
from ckpttool.core.variable_kinds import AVERAGE, START
from ckpttool.graph.core import TensorRef
from ckpttool.graph.roles.resolve import ROLE_KEYS
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.layers import MAX_NORM
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import RATE, UNKNOWN_STEPS, RunSteps, present_factor

Gradients = list[tuple[Any, Any]]
_RATE_NAME = TensorRef.parse(RATE).op.rpartition("/")[2]


def put_training_op(
    recipe: Recipe,
    loss: Any,
    variables: Sequence[Any],
    names: Sequence[str],
    run: RunSteps = UNKNOWN_STEPS,
    head: Collection[str] = (),
    learnt: Any | None = None,
) -> Any:
    """Add gradients and updates to a TensorFlow 1 graph and return the training op, which increments the global step.

    The op and the slots have TensorFlow's own names (`Momentum`). Gradients are those of the loss plus penalties;
    `loss` remains the graph's loss, and is stored in a collection if the two differ. `names` are the names of
    all the graph's variables, for the patterns of the recipe. `head` contains the ops of newly initialised variables,
    to which a single value of `l2_sp` does not apply. `learnt` is differentiated instead of the loss, if given.

    Raises:
        PlanError: there is no variable to train, or the loss has no gradient for one.
        UnknownName: a pattern of the recipe matches nothing.
    """
    tf1 = tensorflow().compat.v1
    bounds = _max_norms(recipe.by_pattern("max_norm"), variables, names)
    step = _global_step(tf1)
    trained = [variable.op.name for variable in variables]
    rates = dict(zip(trained, _present_rates(recipe, trained, names, step, run), strict=True))
    total = _penalised(recipe, loss, variables, names, _pulled(recipe, variables, names, head), learnt)
    averages = _averages(recipe, variables)

    def after() -> list[Any]:
        bounded = [_bounded(*pair) for pair in bounds]
        with tf1.control_dependencies(bounded):
            return [*bounded, *_averaged(recipe, averages, step, run)]

    minimizer = recipe.update_rule.make(rates, after)
    pairs = _clipped(recipe, _gradients(minimizer, loss, total, variables))
    return minimizer.apply_gradients(pairs, global_step=step)


def _global_step(tf1: Any) -> Any:
    """Return the graph's global step, or a new one."""
    keys = tf1.GraphKeys
    if steps := tf1.get_collection(keys.GLOBAL_STEP):
        return steps[0]
    collections = [keys.GLOBAL_VARIABLES, keys.GLOBAL_STEP]
    zeros = tf1.zeros_initializer()
    return tf1.get_variable("global_step", [], "int64", zeros, trainable=False, collections=collections)


def rates_of(recipe: Recipe, trained: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return the base rate of each trained variable, in graph order; `names` are those of all weights.

    A rate specified by a pattern is not changed. The others have the recipe's rate. With a decay per layer, that is the
    rate of the top trained layer (the last in graph order); each layer below has the decay times that of the one above.

    >>> names = ["h/kernel", "h/bias", "outputs/bias"]
    >>> rates_of(Recipe(lr="outputs/bias=1", lr_decay_per_layer=0.5), names, names)
    {'h/kernel': 0.005, 'h/bias': 0.005, 'outputs/bias': 1.0}

    Raises:
        UnknownName: a pattern matches nothing.
    """
    layers = dict.fromkeys(layer_of(name) for name in reversed(trained))
    depths = {layer: depth for depth, layer in enumerate(layers)}
    decay = recipe.lr_decay_per_layer or 1.0
    rates = {name: recipe.rate * decay ** depths[layer_of(name)] for name in trained}
    by_pattern = recipe.rates.of(names) if recipe.rates and recipe.rates.pairs[0][0] else {}
    return {name: by_pattern.get(name, rate) for name, rate in rates.items()}


def _present_rates(recipe: Recipe, trained: Sequence[str], names: Sequence[str], step: Any, run: RunSteps) -> list[Any]:
    """Return the rate of each variable at a step; equal rates share a scalar, and that of the base rate is `RATE`."""
    tf = tensorflow()

    def scaled(rate: float, factor: Any, name: str | None = None) -> Any:
        constant = tf.constant(rate, tf.float32, name=name if factor is None else None)
        return constant if factor is None else tf.multiply(constant, factor, name=name)

    with tf.name_scope("learning_rate/"):
        factor = present_factor(recipe.rate_schedule, recipe.warmup, step, run)
        present = {recipe.rate: scaled(recipe.rate, factor, _RATE_NAME)}
        rates = rates_of(recipe, trained, names).values()
        for rate in rates:
            present[rate] = present[rate] if rate in present else scaled(rate, factor)
    return [present[rate] for rate in rates]


def _pulled(
    recipe: Recipe, trained: Sequence[Any], names: Sequence[str], head: Collection[str]
) -> list[tuple[Any, float, Any]]:
    """Return the kernels with an L2-SP penalty, each with its scale and a variable of its initial value."""
    scales = recipe.by_pattern("l2_sp")
    for_all = scales is not None and scales.pairs[0][0] is None
    restored = [variable for variable in trained if not (for_all and variable.op.name in head)]
    return [(*pair, _slot(pair[0], START)) for pair in _of_kernels("l2_sp", scales, restored, names)]


def _slot(variable: Any, name: str) -> Any:
    """Return a new variable in the scope of another, initialised with its value, like TensorFlow's averages."""
    tf1 = tensorflow().compat.v1
    is_there = tf1.is_variable_initialized(variable)
    present = tf1.cond(is_there, variable.read_value, lambda: variable.initial_value)
    return tf1.Variable(present, trainable=False, name=f"{variable.op.name}/{name}")


def _averages(recipe: Recipe, trained: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return the trained variables, each with a new one for its moving average; empty without `ema`."""
    return [] if recipe.ema is None else [(variable, _slot(variable, AVERAGE)) for variable in trained]


def _averaged(recipe: Recipe, averages: Sequence[tuple[Any, Any]], step: Any, run: RunSteps) -> list[Any]:
    """Return ops that update moving averages as `tf.train.ExponentialMovingAverage(ema, num_updates)` does.

    Updates are counted from the run's first step, so that the initial values lose their weight quickly.
    """
    if not averages:
        return []
    tf = tensorflow()
    with tf.name_scope(f"{AVERAGE}/"):
        updates = tf.cast(tf.maximum(step.read_value() - run.begin, 0), tf.float32) + 1
        left = 1 - tf.minimum(tf.constant(recipe.ema, tf.float32), (1 + updates) / (10 + updates))
        # separate reads, which wait for the updates of the weights
        return [
            average.assign_sub(
                (average.read_value() - variable.read_value()) * tf.cast(left, average.dtype.base_dtype),
                read_value=False,
            )
            for variable, average in averages
        ]


def _penalised(
    recipe: Recipe,
    loss: Any,
    variables: Sequence[Any],
    names: Sequence[str],
    pulled: Sequence[tuple[Any, float, Any]],
    learnt: Any | None = None,
) -> Any:
    """Return the tensor to differentiate: the loss, or `learnt` instead, plus the penalties.

    Penalties are sum(|w|) and sum(w^2) / 2 times a scale, as in `tf.contrib.layers`, chapter 11.4, and
    sum((w - w0)^2) / 2 for initial values w0.
    """
    tf = tensorflow()
    measures = {"l1": lambda weights: tf.reduce_sum(tf.abs(weights)), "l2": tf.nn.l2_loss}
    with tf.name_scope("penalties/"):
        penalties = [
            tf.cast(tf.cast(scale, variable.dtype.base_dtype) * measure(variable), loss.dtype)
            for name, measure in measures.items()
            for variable, scale in _of_kernels(name, recipe.by_pattern(name), variables, names)
        ]
        penalties += [
            tf.cast(tf.cast(scale, kernel.dtype.base_dtype) * tf.nn.l2_loss(kernel - start), loss.dtype)
            for kernel, scale, start in pulled
        ]
        kept = tf.compat.v1.get_collection_ref(ROLE_KEYS["loss"])
        if penalties or kept or learnt is not None:
            kept[:] = [loss]
        total = loss if learnt is None else learnt
        return tf.add_n([total, *penalties], name="penalised_loss") if penalties else total


def _gradients(minimizer: Any, loss: Any, total: Any, variables: Sequence[Any]) -> Gradients:
    computed = minimizer.compute_gradients(total, list(variables)) if variables else []
    pairs = [pair for pair in computed if pair[0] is not None]
    if not pairs:
        raise PlanError(f"nothing to train: {loss.name} has no gradient for any variable that is not frozen")
    if len(pairs) < len(computed):
        lost = ", ".join(variable.op.name for gradient, variable in computed if gradient is None)
        raise PlanError(f"{loss.name} has no gradient for {lost}, though it depends on it: freeze it")
    return pairs


def _clipped(recipe: Recipe, pairs: Gradients) -> Gradients:
    """Clip gradients by element, then each by its norm, then all by their global norm."""
    tf = tensorflow()
    gradients, variables = [gradient for gradient, _ in pairs], [variable for _, variable in pairs]
    if (bound := recipe.clip_value) is not None:
        gradients = [tf.clip_by_value(gradient, -bound, bound) for gradient in gradients]
    if recipe.clip_norm is not None:
        gradients = [tf.clip_by_norm(gradient, recipe.clip_norm) for gradient in gradients]
    if recipe.clip_global_norm is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip_global_norm)
    return list(zip(gradients, variables, strict=True))


def _max_norms(
    bounds: ByPattern[float] | None, trained: Sequence[Any], names: Sequence[str]
) -> list[tuple[Any, float]]:
    """Return the trained kernels with a bound on their norms: the recipe's, else that of the layer.

    Raises:
        UnknownName: a pattern matches nothing.
        PlanError: a pattern matches only vectors.
    """
    entries = tensorflow().compat.v1.get_collection(MAX_NORM)
    made_with = ((entry.decode() if isinstance(entry, bytes) else entry).rpartition("=") for entry in entries)
    try:
        by_name = {name: float(bound) for name, _, bound in made_with}
    except ValueError as error:
        raise PlanError(f"collection {MAX_NORM}: expected NAME=NUMBER: {error}") from error
    by_name |= {kernel.op.name: bound for kernel, bound in _of_kernels("max_norm", bounds, trained, names, zeros=True)}
    return [(variable, by_name[variable.op.name]) for variable in trained if by_name.get(variable.op.name)]


def _of_kernels(
    parameter: str, values: ByPattern[float] | None, trained: Sequence[Any], names: Sequence[str], zeros: bool = False
) -> list[tuple[Any, float]]:
    """Return the trained kernels with the value of a parameter for each; those with 0 are skipped unless `zeros`.

    `names` are those of all weights, since a pattern may match one that is not trained.
    """
    if values is None:
        return []
    kernels = {variable.op.name: variable for variable in trained if variable.shape.rank != 1 and variable.shape.rank}
    for pattern, value in values.pairs:
        taken = [variable.op.name for variable in trained if pattern is not None and pattern.matches(variable.op.name)]
        if taken and pattern is not None and not any(name in kernels for name in taken):
            option, vectors = f"`{parameter}`", ", ".join(taken)
            raise PlanError(f"{option} '{pattern.text}={value}': expected a kernel, of rank 2 or more, found {vectors}")
    chosen = values.of(names)
    return [(kernels[name], chosen[name]) for name in kernels if (zeros and name in chosen) or chosen.get(name)]


def _bounded(variable: Any, bound: float) -> Any:
    """Return an op that scales down the vectors of a kernel whose norm exceeds a bound.

    The vectors of a kernel `[inputs, outputs]` are its rows, as in chapter 11.4.4 (`clip_by_norm(weights, bound,
    axes=1)`), those of a convolution are its filters: all axes but the last.
    """
    tf = tensorflow()
    weights = variable.read_value()
    axes = [1] if variable.shape.rank == 2 else list(range(variable.shape.rank - 1))
    norms = tf.sqrt(tf.reduce_sum(tf.square(weights), axes, keepdims=True))
    return variable.assign(weights * (bound / tf.maximum(norms, bound)), read_value=False)
