"""Normalisation layers: over a batch, or over each row."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import below_one, not_negative
from ckpttool.runtime.activations import Activation, Switch, activate
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.layers import Layer


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over all dimensions but the last (Ioffe and Szegedy 2015)."""

    name = "batch_norm"
    keeps_shape: ClassVar[bool] = True
    momentum: float = 0.99
    epsilon: float = 1e-3
    activation: Activation | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        below_one("momentum", self.momentum)
        not_negative("epsilon", self.epsilon)

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Add the layer above a tensor; ops in the UPDATE_OPS collection update its moving averages."""
        tf1, width = tensorflow().compat.v1, inputs.shape[-1]
        ones, zeros = tf1.ones_initializer(), tf1.zeros_initializer()
        gamma = tf1.get_variable("gamma", [width], initializer=ones)
        beta = tf1.get_variable("beta", [width], initializer=zeros)
        mean = tf1.get_variable("moving_mean", [width], initializer=zeros, trainable=False)
        variance = tf1.get_variable("moving_variance", [width], initializer=ones, trainable=False)
        normalise = self._normalise_images if inputs.shape.rank == 4 else self._normalise_rows
        outputs, batch_mean, batch_variance = normalise(inputs, gamma, beta, mean, variance, switch())
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            step = (moving - batch) * (1 - self.momentum)
            update = tf1.assign_sub(moving, step, name=f"{moving.op.name}_update")
            tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, update)
        return activate(self.activation, outputs, switch)

    def _normalise_rows(
        self, inputs: Any, gamma: Any, beta: Any, mean: Any, variance: Any, training: Any
    ) -> tuple[Any, Any, Any]:
        """Return the normalised rows, and the mean and variance used for this."""
        tf = tensorflow()
        axes = list(range(inputs.shape.rank - 1))
        moments = tf.compat.v1.cond(
            training,
            lambda: tuple(tf.nn.moments(inputs, axes)),
            lambda: (tf.identity(mean), tf.identity(variance)),
            name="moments",
        )
        return tf.nn.batch_normalization(inputs, *moments, beta, gamma, self.epsilon), *moments

    def _normalise_images(
        self, inputs: Any, gamma: Any, beta: Any, mean: Any, variance: Any, training: Any
    ) -> tuple[Any, Any, Any]:
        """Do the same for images with TensorFlow's fused op, whose moving variance is that of the unbiased estimate."""
        tf = tensorflow()
        fused = tf.compat.v1.nn.fused_batch_norm
        normalised: tuple[Any, Any, Any] = tf.compat.v1.cond(
            training,
            lambda: tuple(fused(inputs, gamma, beta, epsilon=self.epsilon)),
            lambda: (
                fused(inputs, gamma, beta, mean, variance, self.epsilon, is_training=False)[0],
                tf.identity(mean),
                tf.identity(variance),
            ),
            name="moments",
        )
        return normalised


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalisation over the last dimension (Ba et al. 2016)."""

    name = "layer_norm"
    keeps_shape: ClassVar[bool] = True
    epsilon: float = 1e-3
    activation: Activation | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        not_negative("epsilon", self.epsilon)

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Put the layer on a tensor."""
        tf = tensorflow()
        tf1, width = tf.compat.v1, inputs.shape[-1]
        gamma = tf1.get_variable("gamma", [width], initializer=tf1.ones_initializer())
        beta = tf1.get_variable("beta", [width], initializer=tf1.zeros_initializer())
        mean, variance = tf.nn.moments(inputs, [-1], keepdims=True)
        outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, self.epsilon)
        return activate(self.activation, outputs, switch)
