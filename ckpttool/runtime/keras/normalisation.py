"""Keras's batch normalisation in training, computed by TensorFlow's fused op.

Keras composes it of a dozen ops, and its gradient of thirty, each of which processes all outputs of a layer; it
relies on XLA to fuse them. Without XLA, a graph takes twice as long. Cases that the fused op does not support are
computed by the layer, with the moments of the batch in place of its averages.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.building import keep_losses
from ckpttool.runtime.configure import keras, tensorflow
from ckpttool.runtime.keras.alike import Alike
from ckpttool.runtime.keras.private.running import mask_of, moments_of
from ckpttool.runtime.keras.values import Values


class Normalisation:
    """A call of a batch normalisation layer, which updates its averages in training."""

    def __init__(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any], values: Values) -> None:
        """Start with the averages before the step."""
        self.layer, self.args, self.kwargs, self.values = layer, args, kwargs, values
        self.moving = (layer.moving_mean, layer.moving_variance)
        self.before = [values.first(each) for each in self.moving]
        self.latest = [values.latest(each) for each in self.moving]  # updated ones, if it is called again

    def outputs(self, training: Any, alike: Alike) -> Any:
        """Return the outputs, normalised by the batch's moments if `training` is true; update the averages."""
        if _is_fusible(self.layer, self.args[0], self.kwargs.get("mask")):
            weights = [self.values.first(each) for each in self.layer.variables]
            reads = list({id(each): each for each in [self.args[0], *weights, *self.latest]}.values())
            kind = (*_kind_of(self.layer, self.args[0]), len(reads))
            outputs, *after = alike.of(kind, reads, lambda: self._fused_or_not(training))
        else:
            cond = tensorflow().compat.v1.cond
            moments = cond(training, self._moments_of_batch, self._averages, name="moments")
            outputs, after = self._by(moments), self._moved(moments)
        for variable, value in zip(self.moving, after, strict=True):
            self.values.move(variable, value)
        return outputs

    def _fused_or_not(self, training: Any) -> list[Any]:
        both = (self._fused_by_batch, lambda: [self._by(self.before), *self._averages()])
        with _axis_is_last(self.layer):
            outputs, *moments = tensorflow().compat.v1.cond(training, *both, name="normalised")
        return [outputs, *self._moved(moments)]

    def _fused_by_batch(self) -> list[Any]:
        layer = self.layer
        gamma, beta = (None if each is None else self.values.first(each) for each in (layer.gamma, layer.beta))
        outputs, *found = _fused(layer, self.args[0], gamma, beta, self.before[0])
        return [outputs, *self._as_averages(found)]

    def _moments_of_batch(self) -> list[Any]:
        inputs = self.args[0]
        wide = keras().backend.result_type(inputs.dtype, "float32")
        return self._as_averages(moments_of(self.layer, tensorflow().cast(inputs, wide), self.kwargs.get("mask")))

    def _as_averages(self, found: Sequence[Any]) -> list[Any]:
        """Return moments in the dtypes of the averages."""
        return [tensorflow().cast(value, old.dtype) for value, old in zip(found, self.before, strict=True)]

    def _averages(self) -> list[Any]:
        return [tensorflow().identity(old) for old in self.before]

    def _by(self, moments: Sequence[Any]) -> Any:
        """Return the layer's outputs in inference, with these moments in place of its averages."""
        merged = [*self.values.pairs(self.layer.variables), *zip(self.moving, moments, strict=True)]
        with keras().StatelessScope(state_mapping=merged, collect_losses=True) as scope:
            outputs = self.layer(*self.args, **{**self.kwargs, "training": False})
        keep_losses(scope.losses)
        return outputs

    def _moved(self, moments: Sequence[Any]) -> list[Any]:
        """Return the averages after a step with these moments."""
        return [old + (new - old) * (1 - self.layer.momentum) for old, new in zip(self.latest, moments, strict=True)]


def _is_fusible(layer: Any, inputs: Any, mask: Any) -> bool:
    """Return whether the fused op supports a layer: channels last, single precision, and no mask."""
    rank = inputs.shape.rank
    return (
        rank is not None
        and rank > 2
        and layer.axis in (-1, rank - 1)
        and mask is None
        and mask_of(inputs) is None
        and not layer.synchronized
        and layer.activity_regularizer is None
        and keras().backend.result_type(inputs.dtype, "float32") == "float32"
    )


def _kind_of(layer: Any, inputs: Any) -> tuple[Any, ...]:
    """Return a key that is equal for batch normalisations whose ops differ only in inputs and weights."""
    policy = layer.dtype_policy
    said = (policy.name, policy.compute_dtype, policy.variable_dtype, layer.autocast)
    weights = (layer.gamma is None, layer.beta is None)
    return (layer.momentum, layer.epsilon, *said, *weights, inputs.dtype, inputs.shape.rank)


@contextmanager
def _axis_is_last(layer: Any) -> Iterator[None]:
    """Replace the number of a layer's last axis by -1: for other numbers, Keras reshapes weights for each layer."""
    axis, layer.axis = layer.axis, -1
    try:
        yield
    finally:
        layer.axis = axis


def _fused(layer: Any, inputs: Any, gamma: Any | None, beta: Any | None, mean: Any) -> tuple[Any, Any, Any]:
    """Return a layer's outputs in training, with the mean and the variance of the batch.

    `mean` is the moving average, used for its size: constants must not depend on the sizes of a layer.
    The op returns the unbiased variance, which is converted to the biased one that Keras uses.
    """
    tf = tensorflow()
    values, mean = tf.cast(inputs, tf.float32), tf.cast(mean, tf.float32)
    images = values if inputs.shape.rank == 4 else tf.reshape(values, [-1, 1, 1, layer.moving_mean.shape[0]])
    found = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.raw_ops.OnesLike(x=mean) if gamma is None else tf.cast(gamma, tf.float32),
        offset=tf.raw_ops.ZerosLike(x=mean) if beta is None else tf.cast(beta, tf.float32),
        mean=tf.constant([], tf.float32),
        variance=tf.constant([], tf.float32),
        epsilon=layer.epsilon,
        is_training=True,
    )
    outputs = found.y if images is values else tf.reshape(found.y, tf.shape(inputs))
    outputs.set_shape(inputs.shape)
    numbers, means = (tf.raw_ops.Size(input=each) for each in (inputs, found.batch_mean))  # of the batch at run time
    count = tf.cast(numbers, tf.float32) / tf.cast(means, tf.float32)
    variance = found.batch_variance * (tf.maximum(count - 1, 1) / count)
    return tf.cast(outputs, layer.compute_dtype), found.batch_mean, variance
