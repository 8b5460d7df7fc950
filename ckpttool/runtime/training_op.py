"""The training op of a recipe: gradients, clipped, and the updates that an optimizer makes of them."""

from collections.abc import Sequence
from typing import Any

from ckpttool.errors import PlanError
from ckpttool.runtime import optimizers
from ckpttool.runtime.recipe import NO_SPAN, Recipe, Span
from ckpttool.runtime.tensorflow import tensorflow


def put_training_op(recipe: Recipe, loss: Any, variables: Sequence[Any], span: Span = NO_SPAN) -> Any:
    """Put gradients and updates on a TensorFlow 1 graph and return its training op.

    Raises:
        PlanError: there is no variable, or one that the loss has no gradient for.
    """
    tf = tensorflow()
    minimizer = optimizers.make(recipe.rule, recipe.rate)
    pairs = _gradients(minimizer, loss, variables)
    if recipe.clip_value is not None:
        bound = recipe.clip_value
        pairs = [(tf.clip_by_value(gradient, -bound, bound), variable) for gradient, variable in pairs]
    return minimizer.apply_gradients(pairs)


def _gradients(minimizer: Any, loss: Any, variables: Sequence[Any]) -> list[tuple[Any, Any]]:
    found = minimizer.compute_gradients(loss, list(variables)) if variables else []
    pairs = [pair for pair in found if pair[0] is not None]
    if not pairs:
        raise PlanError(f"nothing to train: {loss.name} has no gradient for any variable that is not frozen")
    if len(pairs) < len(found):
        lost = ", ".join(variable.op.name for gradient, variable in found if gradient is None)
        raise PlanError(f"{loss.name} has no gradient for {lost}, though it depends on it: freeze it")
    return pairs
