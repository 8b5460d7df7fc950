"""Objectives: losses of logits and labels by name, each with the accuracy that belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.names import suggestion
from ckpttool.runtime.configure import tensorflow


@dataclass(frozen=True)
class Objective:
    """What a network is trained for: a row of `OBJECTIVES`, weights of classes (`3=2.0, 7=0.5`), smoothed labels.

    Raises:
        PlanError: there is no such objective, or it does not take what is said with it.
    """

    kind: str = "softmax"
    class_weight: str | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.kind not in OBJECTIVES:
            near = suggestion(self.kind, OBJECTIVES)
            raise PlanError(f"`objective` {self.kind}: there are {', '.join(OBJECTIVES)}{near}")
        if not 0 <= self.label_smoothing < 1:
            raise PlanError(f"`label_smoothing` must lie from 0 to below 1, found {self.label_smoothing}")
        if self.label_smoothing and self.kind not in _SMOOTHED:
            raise PlanError(f"`label_smoothing` has no meaning for {self.kind}, only for {', '.join(_SMOOTHED)}")
        if self.class_weight and self.kind == "mse":
            raise PlanError("`class_weight` has no meaning for mse, which has no classes")
        self.weights(None)

    def weights(self, classes: int | None) -> list[float] | None:
        """Return a weight for each of `classes`, 1 where none is said; None without any.

        Raises:
            PlanError: what is said is no weight, or of a class that the model does not have.
        """
        if self.class_weight is None:
            return None
        said = dict(_weight(part) for part in self.class_weight.split(","))
        if classes is not None and max(said) >= classes:
            raise PlanError(f"`class_weight`: no class {max(said)}, the model has {classes}: 0 to {classes - 1}")
        return [said.get(number, 1.0) for number in range(classes or 0)]


def _weight(text: str) -> tuple[int, float]:
    number, _, weight = (each.strip() for each in text.partition("="))
    try:
        found = int(number), float(weight)
    except ValueError as error:
        raise PlanError(f"`class_weight` {text.strip()!r}: expected such as '3=2.0, 7=0.5'") from error
    if found[0] < 0 or not 0 <= found[1] < float("inf"):
        raise PlanError(f"`class_weight` {text.strip()!r}: expected a class from 0 on and a weight of 0 or more")
    return found


def labels_of(kind: str, logits: Any) -> tuple[str, list[int | None]]:
    """Return the dtype and shape of the placeholder for the labels of an objective."""
    whole = kind in ("softmax", "hinge")
    return ("int32", [None]) if whole else ("float32", [None, *logits.shape[1:].as_list()])


def put_objective(objective: Objective, logits: Any, labels: Any) -> tuple[Any, Any | None]:
    """Put a loss, `loss/loss`, and an accuracy, `eval/accuracy`, on logits and labels; return both, scalars.

    The losses of the REGULARIZATION_LOSSES collection are part of the loss. There is no accuracy of numbers: mse has
    `eval/mean_absolute_error` instead.
    """
    tf = tensorflow()
    tf1 = tf.compat.v1
    loss_of, accuracy_of = OBJECTIVES[objective.kind]
    with tf1.name_scope("loss"):
        each = loss_of(objective, logits, labels)
        penalties = tf1.losses.get_regularization_losses()
        data = tf.reduce_mean(each, name="data_loss" if penalties else "loss")
        loss = tf.add_n([data, *penalties], name="loss") if penalties else data
    with tf1.name_scope("eval"):
        return loss, accuracy_of(logits, labels)


def _softmax(objective: Objective, logits: Any, labels: Any) -> Any:
    tf1 = tensorflow().compat.v1
    if objective.label_smoothing:
        classes = logits.shape[-1]
        each = _softmax_of_rows(objective, logits, tf1.one_hot(labels, classes))
    else:
        each = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return _weighted(objective, each, logits, labels)


def _softmax_dense(objective: Objective, logits: Any, labels: Any) -> Any:
    tf = tensorflow()
    each = _softmax_of_rows(objective, logits, labels)
    return _weighted(objective, each, logits, tf.argmax(labels, -1, name="classes"))


def _softmax_of_rows(objective: Objective, logits: Any, labels: Any) -> Any:
    tf1 = tensorflow().compat.v1
    smoothing = objective.label_smoothing
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / int(logits.shape[-1])
    return tf1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)


def _weighted(objective: Objective, each: Any, logits: Any, classes: Any) -> Any:
    """Multiply the loss of each row by the weight of its class."""
    weights = objective.weights(logits.shape[-1])
    return each if weights is None else each * tensorflow().gather(weights, classes)


def _sigmoid(objective: Objective, logits: Any, labels: Any) -> Any:
    """Return a cross entropy per label; `class_weight` weighs the labels."""
    tf = tensorflow()
    smoothing, weights = objective.label_smoothing, objective.weights(logits.shape[-1])
    smoothed = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
    each = tf.nn.sigmoid_cross_entropy_with_logits(labels=smoothed, logits=logits)
    return each if weights is None else each * tf.constant(weights)


def _mean_squared_error(objective: Objective, logits: Any, labels: Any) -> Any:
    return tensorflow().math.squared_difference(logits, labels)


def _hinge(objective: Objective, logits: Any, labels: Any) -> Any:
    """Multi-class hinge loss (Crammer and Singer 2001): how far the best other class comes up to the right one."""
    tf = tensorflow()
    right = tf.one_hot(labels, logits.shape[-1])
    positive = tf.reduce_sum(right * logits, -1)
    negative = tf.reduce_max((1 - right) * logits - right * logits.dtype.max, -1)
    return _weighted(objective, tf.maximum(0.0, 1 + negative - positive), logits, labels)


def _class_accuracy(logits: Any, labels: Any) -> Any:
    tf = tensorflow()
    return tf.reduce_mean(tf.cast(tf.compat.v1.nn.in_top_k(logits, labels, 1), "float32"), name="accuracy")


def _row_accuracy(logits: Any, labels: Any) -> Any:
    tf = tensorflow()
    hits = tf.equal(tf.argmax(logits, -1), tf.argmax(labels, -1))
    return tf.reduce_mean(tf.cast(hits, "float32"), name="accuracy")


def _label_accuracy(logits: Any, labels: Any) -> Any:
    tf = tensorflow()
    return tf.reduce_mean(tf.cast(tf.equal(logits > 0, labels > 0.5), "float32"), name="accuracy")


def _no_accuracy(logits: Any, labels: Any) -> None:
    tf = tensorflow()
    tf.reduce_mean(tf.abs(logits - labels), name="mean_absolute_error")


OBJECTIVES: dict[str, tuple[Callable[[Objective, Any, Any], Any], Callable[[Any, Any], Any | None]]] = {
    "softmax": (_softmax, _class_accuracy),
    "softmax_dense": (_softmax_dense, _row_accuracy),
    "sigmoid": (_sigmoid, _label_accuracy),
    "mse": (_mean_squared_error, _no_accuracy),
    "hinge": (_hinge, _class_accuracy),
}
"""By name, the loss of each row (or of each label) and the accuracy. Labels are class numbers for softmax and hinge,
a row of probabilities for softmax_dense, of zeros and ones for sigmoid, of numbers for mse."""
_SMOOTHED = ("softmax", "softmax_dense", "sigmoid")
