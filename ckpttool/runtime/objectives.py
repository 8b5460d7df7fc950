"""Objectives: a loss with its options, which is added to logits and labels together with its accuracy."""

from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.suggestions import suggestion
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.losses import Loss


@dataclass(frozen=True)
class Objective:
    """A training objective: the name of a loss, class weights (`3=2.0, 7=0.5`), label smoothing.

    Raises:
        PlanError: the loss does not exist, or does not accept one of the options.
    """

    kind: str = "softmax"
    class_weight: str | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Validate the loss and its options."""
        losses = Loss.known()
        if self.kind not in losses:
            raise PlanError(f"`objective` {self.kind}: there are {', '.join(losses)}{suggestion(self.kind, losses)}")
        if not 0 <= self.label_smoothing < 1:
            raise PlanError(f"`label_smoothing` must lie from 0 to below 1, found {self.label_smoothing}")
        if self.label_smoothing and not self.loss.smooths:
            smoothing = ", ".join(name for name, loss in losses.items() if loss.smooths)
            raise PlanError(f"`label_smoothing` has no meaning for {self.kind}, only for {smoothing}")
        if self.class_weight and not self.loss.has_classes:
            raise PlanError(f"`class_weight` has no meaning for {self.kind}, which has no classes")
        self.weights(None)

    @property
    def loss(self) -> Loss:
        """The loss."""
        return Loss.known()[self.kind]()

    def weights(self, classes: int | None) -> list[float] | None:
        """Return a weight for each of `classes`, by default 1; None if no weights are specified.

        Raises:
            PlanError: a weight is invalid, or its class does not exist.
        """
        if self.class_weight is None:
            return None
        given = dict(_weight(part) for part in self.class_weight.split(","))
        if classes is not None and max(given) >= classes:
            raise PlanError(f"`class_weight`: no class {max(given)}, the model has {classes}: 0 to {classes - 1}")
        return [given.get(number, 1.0) for number in range(classes or 0)]


def _weight(text: str) -> tuple[int, float]:
    number, _, weight = (each.strip() for each in text.partition("="))
    try:
        pair = int(number), float(weight)
    except ValueError as error:
        raise PlanError(f"`class_weight` {text.strip()!r}: expected such as '3=2.0, 7=0.5'") from error
    if pair[0] < 0 or not 0 <= pair[1] < float("inf"):
        raise PlanError(f"`class_weight` {text.strip()!r}: expected a class from 0 on and a weight of 0 or more")
    return pair


def put_objective(objective: Objective, logits: Any, labels: Any) -> tuple[Any, Any | None]:
    """Add a loss, `loss/loss`, and an accuracy, `eval/accuracy`, to logits and labels; return both scalars.

    The loss includes the REGULARIZATION_LOSSES collection. For mse, `eval/mean_absolute_error` replaces the accuracy.
    """
    tf = tensorflow()
    tf1 = tf.compat.v1
    with tf1.name_scope("loss"):
        weights = objective.weights(logits.shape[-1])
        each = objective.loss.each(logits, labels, objective.label_smoothing, weights)
        penalties = tf1.losses.get_regularization_losses()
        data = tf.reduce_mean(each, name="data_loss" if penalties else "loss")
        loss = tf.add_n([data, *penalties], name="loss") if penalties else data
    with tf1.name_scope("eval"):
        return loss, objective.loss.accuracy(logits, labels)
