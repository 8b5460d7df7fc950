"""The training op of a recipe: gradients, clipped, and the updates that an optimizer makes of them."""

from collections.abc import Sequence
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.graph.core import TensorRef
from ckpttool.graph.roles.roles import ROLE_KEYS
from ckpttool.runtime import optimizers
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.penalties import bounded, max_norms, penalties
from ckpttool.runtime.rates import rates_of
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import NO_SPAN, RATE, Span, parse, present_factor

Gradients = list[tuple[Any, Any]]
_RATE_NAME = TensorRef.parse(RATE).op.rpartition("/")[2]


def put_training_op(recipe: Recipe, loss: Any, variables: Sequence[Any], span: Span = NO_SPAN) -> Any:
    """Put gradients and updates on a TensorFlow 1 graph and return its training op, which counts the global step.

    It has the name that TensorFlow gives it (`Momentum`), and so have the slots. Penalties are in what is
    differentiated; `loss` stays the graph's loss, and a collection says so where they differ.

    Raises:
        PlanError: there is no variable, or one that the loss has no gradient for.
        UnknownName: a pattern of the recipe takes nothing.
    """
    tf1 = tensorflow().compat.v1
    names = [variable.op.name for variable in tf1.global_variables()]
    bounds = max_norms(recipe.by_pattern("max_norm"), variables, names)
    step = _global_step(tf1)
    trained = [variable.op.name for variable in variables]
    rates = dict(zip(trained, _present_rates(recipe, trained, names, step, span), strict=True))
    total = _penalised(recipe, loss, variables, names)
    minimizer = optimizers.make(recipe.rule, rates, lambda: [bounded(*pair) for pair in bounds])
    pairs = _clipped(recipe, _gradients(minimizer, loss, total, variables))
    return minimizer.apply_gradients(pairs, global_step=step)


def _global_step(tf1: Any) -> Any:
    """Return the graph's counter of steps, or a new one."""
    found = tf1.get_collection(tf1.GraphKeys.GLOBAL_STEP)
    return (
        found[0]
        if found
        else tf1.get_variable(
            "global_step",
            [],
            "int64",
            tf1.zeros_initializer(),
            trainable=False,
            collections=[tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.GLOBAL_STEP],
        )
    )


def _present_rates(recipe: Recipe, trained: Sequence[str], names: Sequence[str], step: Any, span: Span) -> list[Any]:
    """Return the rate of each variable at a step, one scalar for all that have the same; the base rate is `RATE`."""
    tf = tensorflow()
    with tf.name_scope("learning_rate/"):
        factor = present_factor(parse(recipe.schedule), recipe.warmup, step, span)
        scaled = {recipe.rate: _scaled(tf, recipe.rate, factor, _RATE_NAME)}
        rates = rates_of(recipe, trained, names).values()
        for rate in rates:
            scaled[rate] = scaled[rate] if rate in scaled else _scaled(tf, rate, factor)
    return [scaled[rate] for rate in rates]


def _scaled(tf: Any, rate: float, factor: Any, name: str | None = None) -> Any:
    rate = tf.constant(rate, tf.float32, name=name if factor is None else None)
    return rate if factor is None else tf.multiply(rate, factor, name=name)


def _penalised(recipe: Recipe, loss: Any, variables: Sequence[Any], names: Sequence[str]) -> Any:
    """Return what is differentiated: the loss, and the penalties where there are any."""
    tf = tensorflow()
    with tf.name_scope("penalties/"):
        scales = {f"--{name}": recipe.by_pattern(name) for name in ("l1", "l2")}
        found = [tf.cast(penalty, loss.dtype) for penalty in penalties(scales, variables, names)]
        kept = tf.compat.v1.get_collection_ref(ROLE_KEYS["loss"])
        if found or kept:
            kept[:] = [loss]
        return tf.add_n([loss, *found], name="penalised_loss") if found else loss


def _gradients(minimizer: Any, loss: Any, total: Any, variables: Sequence[Any]) -> Gradients:
    found = minimizer.compute_gradients(total, list(variables)) if variables else []
    pairs = [pair for pair in found if pair[0] is not None]
    if not pairs:
        raise PlanError(f"nothing to train: {loss.name} has no gradient for any variable that is not frozen")
    if len(pairs) < len(found):
        lost = ", ".join(variable.op.name for gradient, variable in found if gradient is None)
        raise PlanError(f"{loss.name} has no gradient for {lost}, though it depends on it: freeze it")
    return pairs


def _clipped(recipe: Recipe, pairs: Gradients) -> Gradients:
    """Clip gradients by their elements, then each by its norm, then all by the norm of all together."""
    tf = tensorflow()
    gradients, variables = [gradient for gradient, _ in pairs], [variable for _, variable in pairs]
    if (bound := recipe.clip_value) is not None:
        gradients = [tf.clip_by_value(gradient, -bound, bound) for gradient in gradients]
    if recipe.clip_norm is not None:
        gradients = [tf.clip_by_norm(gradient, recipe.clip_norm) for gradient in gradients]
    if recipe.clip_global_norm is not None:
        gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip_global_norm)
    return list(zip(gradients, variables, strict=True))
