"""Losses of logits and labels, each with its accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import Call
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow

Weights = Sequence[float] | None
"""A weight for each class; None if all are 1."""
_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})


@dataclass(frozen=True)
class Loss(Call):
    """A loss; its labels are an array of numbers for each row, or a class number if they are `numbered`."""

    noun, example = "objective", "softmax"
    numbered: ClassVar[bool] = False
    has_classes: ClassVar[bool] = True
    smooths: ClassVar[bool] = False
    """Whether labels can be smoothed."""
    activations: ClassVar[frozenset[str]] = frozenset()
    """The ops that compute probabilities from logits, which the loss does itself."""

    def labels(self, logits: Any) -> tuple[str, list[int | None]]:
        """Return the dtype and shape of the placeholder for the labels.

        Raises:
            PlanError: the loss cannot compare logits of this shape.
        """
        shape, dtype = logits.shape, logits.dtype
        if not dtype.is_floating:
            raise PlanError(f"{logits.name} is {dtype.name}, expected floating-point numbers; specify `logits`")
        if shape.rank is None:
            raise PlanError(f"{logits.name} has a shape that is not known; `inputs` 'X[?,8]' gives the inputs theirs")
        if shape.rank == 0:
            raise PlanError(f"{logits.name} is a single number, expected one for each row; specify `logits`")
        if not self.numbered:
            return dtype.name, [None, *shape[1:].as_list()]
        if shape.rank < 2 or shape[-1] in (None, 1):
            others = f"`objective` {self.name}; sigmoid is for one that holds or not, mse for numbers"
            raise PlanError(f"{logits.name} is {shape}, expected an output for each class of {others}")
        return "int32", [None, *shape[1:-1].as_list()]

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each row, or of each label; `smoothing` and `weights` only if the loss accepts them."""
        raise NotImplementedError

    def accuracy(self, logits: Any, labels: Any) -> Any | None:
        """Return the fraction of rows, or of labels, that are correct; None if the loss has no accuracy."""
        raise NotImplementedError


@dataclass(frozen=True)
class Softmax(Loss):
    """Softmax cross entropy; labels are class numbers."""

    name, numbered, smooths = "softmax", True, True
    activations = _SOFTMAX

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each row."""
        tf1 = tensorflow().compat.v1
        if smoothing:
            rows = _softmax_of_rows(smoothing, logits, tf1.one_hot(labels, logits.shape[-1], dtype=logits.dtype))
        else:
            rows = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return _weighted(rows, weights, labels)

    def accuracy(self, logits: Any, labels: Any) -> Any:
        """Return the fraction of rows whose class has the largest logit."""
        return _class_accuracy(logits, labels)


@dataclass(frozen=True)
class SoftmaxDense(Loss):
    """Softmax cross entropy; labels are rows of probabilities."""

    name, smooths = "softmax_dense", True
    activations = _SOFTMAX

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each row."""
        rows = _softmax_of_rows(smoothing, logits, labels)
        return _weighted(rows, weights, tensorflow().argmax(labels, -1, name="classes"))

    def accuracy(self, logits: Any, labels: Any) -> Any:
        """Return the fraction of rows whose most probable class has the largest logit."""
        tf = tensorflow()
        hits = tf.equal(tf.argmax(logits, -1), tf.argmax(labels, -1))
        return tf.reduce_mean(tf.cast(hits, "float32"), name="accuracy")


@dataclass(frozen=True)
class Sigmoid(Loss):
    """Sigmoid cross entropy per label, each 0 or 1; class weights apply to labels."""

    name, smooths = "sigmoid", True
    activations = frozenset({"Sigmoid"})

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each label."""
        tf = tensorflow()
        smoothed = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=smoothed, logits=logits)
        return each if weights is None else each * tf.constant(weights, each.dtype)

    def accuracy(self, logits: Any, labels: Any) -> Any:
        """Return the fraction of labels whose logit has the correct sign."""
        tf = tensorflow()
        return tf.reduce_mean(tf.cast(tf.equal(logits > 0, labels > 0.5), "float32"), name="accuracy")


@dataclass(frozen=True)
class OfNumbers(Loss):
    """A loss of numbers, by how far outputs are from labels."""

    has_classes = False

    def accuracy(self, logits: Any, labels: Any) -> None:
        """Add the mean absolute error to the graph, and return None: there is no accuracy."""
        tf = tensorflow()
        tf.reduce_mean(tf.abs(logits - labels), name="mean_absolute_error")


@dataclass(frozen=True)
class MeanSquaredError(OfNumbers):
    """Mean squared error."""

    name = "mse"

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each number."""
        return tensorflow().math.squared_difference(logits, labels)


@dataclass(frozen=True)
class MeanAbsoluteError(OfNumbers):
    """Mean absolute error."""

    name = "mae"

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each number."""
        return tensorflow().abs(logits - labels)


@dataclass(frozen=True)
class MeanAbsolutePercentageError(OfNumbers):
    """Mean absolute percentage error."""

    name = "mape"

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each number; labels are taken as 1e-7 at least, as Keras has it."""
        tf = tensorflow()
        return 100 * tf.abs((logits - labels) / tf.maximum(tf.abs(labels), 1e-7))


@dataclass(frozen=True)
class Huber(OfNumbers):
    """Huber loss: half the squared error up to an error of 1, linear above."""

    name = "huber"

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each number."""
        tf = tensorflow()
        error = tf.abs(logits - labels)
        near = tf.minimum(error, 1.0)
        return near * near / 2 + (error - near)


@dataclass(frozen=True)
class LogCosh(OfNumbers):
    """Logarithm of the hyperbolic cosine of the error."""

    name = "log_cosh"

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return the loss of each number, as Keras computes it: without overflow."""
        tf = tensorflow()
        error = logits - labels
        return error + tf.math.softplus(-2.0 * error) - 0.6931471805599453


@dataclass(frozen=True)
class Hinge(Loss):
    """Multi-class hinge loss (Crammer and Singer 2001); labels are class numbers."""

    name, numbered = "hinge", True
    activations = _SOFTMAX

    def each(self, logits: Any, labels: Any, smoothing: float = 0.0, weights: Weights = None) -> Any:
        """Return max(0, 1 + the best other logit - the logit of the class) for each row."""
        tf = tensorflow()
        right = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        positive = tf.reduce_sum(right * logits, -1)
        negative = tf.reduce_max((1 - right) * logits - right * logits.dtype.max, -1)
        return _weighted(tf.nn.relu(1 + negative - positive), weights, labels)

    def accuracy(self, logits: Any, labels: Any) -> Any:
        """Return the fraction of rows whose class has the largest logit."""
        return _class_accuracy(logits, labels)


def _softmax_of_rows(smoothing: float, logits: Any, labels: Any) -> Any:
    tf1 = tensorflow().compat.v1
    if smoothing:
        labels = labels * (1 - smoothing) + smoothing / int(logits.shape[-1])
    return tf1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)


def _weighted(each: Any, weights: Weights, classes: Any) -> Any:
    """Multiply the loss of each row by the weight of its class."""
    return each if weights is None else each * tensorflow().gather(tensorflow().constant(weights, each.dtype), classes)


def _class_accuracy(logits: Any, labels: Any) -> Any:
    tf = tensorflow()
    rows = tf.cast(logits, "float32"), labels
    if logits.shape.rank > 2:  # one class for each step or pixel
        rows = tf.reshape(rows[0], [-1, logits.shape[-1]]), tf.reshape(labels, [-1])
    return tf.reduce_mean(tf.cast(tf.compat.v1.nn.in_top_k(*rows, 1), "float32"), name="accuracy")
