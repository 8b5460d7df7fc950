"""Optimizers by name: a table of TensorFlow 1's, whose ops and slots a plain TensorFlow 1 program knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from ckpttool.errors import PlanError
from ckpttool.runtime.tensorflow import tensorflow
from ckpttool.selection import suggestion


@dataclass(frozen=True)
class Optimizer:
    """How weights are changed by their gradients.

    `clip_value` bounds each gradient element to [-clip_value, clip_value] before it is applied.
    """

    name: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    clip_value: float | None = None

    def __post_init__(self) -> None:
        """Refuse a name that the table lacks, and rates that cannot train."""
        if self.name not in OPTIMIZERS:
            known = ", ".join(OPTIMIZERS)
            raise PlanError(f"no optimizer {self.name}; known: {known}{suggestion(self.name, OPTIMIZERS)}")
        if not 0 < self.learning_rate < inf:
            raise PlanError(f"--lr must be a number above 0, found {self.learning_rate}")
        if not 0 <= self.momentum <= 1:
            raise PlanError(f"--momentum must lie between 0 and 1, found {self.momentum}")
        if self.clip_value is not None and not 0 < self.clip_value < inf:
            raise PlanError(f"--clip-value must be a number above 0, found {self.clip_value}")


OPTIMIZERS: dict[str, Callable[[Optimizer, Any], Any]] = {
    "sgd": lambda optimizer, train: train.GradientDescentOptimizer(optimizer.learning_rate),
    "momentum": lambda optimizer, train: train.MomentumOptimizer(optimizer.learning_rate, optimizer.momentum),
}


def minimize(optimizer: Optimizer, loss: Any, variables: Sequence[Any]) -> Any:
    """Put gradients and updates on a TensorFlow 1 graph and return its training op.

    Raises:
        PlanError: there is no variable, or one that the loss has no gradient for.
    """
    tf = tensorflow()
    minimizer = OPTIMIZERS[optimizer.name](optimizer, tf.compat.v1.train)
    found = minimizer.compute_gradients(loss, list(variables)) if variables else []
    pairs = [pair for pair in found if pair[0] is not None]
    if not pairs:
        raise PlanError(f"nothing to train: {loss.name} has no gradient for any variable that is not frozen")
    if len(pairs) < len(found):
        lost = ", ".join(variable.op.name for gradient, variable in found if gradient is None)
        raise PlanError(f"{loss.name} has no gradient for {lost}, though it depends on it: freeze it")
    if optimizer.clip_value is not None:
        bound = optimizer.clip_value
        pairs = [(tf.clip_by_value(gradient, -bound, bound), variable) for gradient, variable in pairs]
    return minimizer.apply_gradients(pairs)
