"""Activations and initialisers of SPEC."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ckpttool.core.calls import Call
from ckpttool.runtime.configure import tensorflow

Switch = Callable[[], Any]
"""Returns the `training` tensor, which is created when the first layer needs it."""


@dataclass(frozen=True)
class Activation(Call):
    """A function that a layer applies to its outputs."""

    noun, example = "activation", "leaky_relu(0.2)"

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations of a tensor."""
        raise NotImplementedError


def activate(activation: Activation | None, inputs: Any, switch: Switch) -> Any:
    """Return the activations of a tensor; the tensor itself if there is no activation."""
    return inputs if activation is None else activation.apply(inputs, switch)


@dataclass(frozen=True)
class Linear(Activation):
    """No activation, as None."""

    name = "linear"

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the inputs."""
        return inputs


class _OfTensorFlow(Activation):
    """A function of `tf.nn` without parameters."""

    function: ClassVar[str]

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations."""
        return getattr(tensorflow().nn, self.function)(inputs)


@dataclass(frozen=True)
class Relu(_OfTensorFlow):
    """Rectified linear units: max(x, 0)."""

    name, function = "relu", "relu"


@dataclass(frozen=True)
class LeakyRelu(Activation):
    """Leaky ReLU: x, or alpha * x below 0."""

    name = "leaky_relu"
    alpha: float = 0.01

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations."""
        return tensorflow().nn.leaky_relu(inputs, self.alpha)


@dataclass(frozen=True)
class RandomizedRelu(Activation):
    """Randomised leaky ReLU (Xu et al. 2015): a slope per element when training, the mean slope when not."""

    name = "rrelu"
    lower: float = 1 / 8
    upper: float = 1 / 3

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations."""
        tf = tensorflow()

        def random() -> Any:
            return tf.where(inputs > 0, inputs, inputs * tf.random.uniform(tf.shape(inputs), self.lower, self.upper))

        mean = (self.lower + self.upper) / 2
        return tf.compat.v1.cond(switch(), random, lambda: tf.nn.leaky_relu(inputs, mean), name="RRelu")


@dataclass(frozen=True)
class Elu(Activation):
    """Exponential linear units (Clevert et al. 2015): x, or alpha * (e^x - 1) below 0."""

    name = "elu"
    alpha: float = 1.0

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations."""
        tf = tensorflow()
        return tf.nn.elu(inputs) if self.alpha == 1 else tf.where(inputs > 0, inputs, self.alpha * tf.nn.elu(inputs))


@dataclass(frozen=True)
class Selu(_OfTensorFlow):
    """Scaled exponential linear units (Klambauer et al. 2017)."""

    name, function = "selu", "selu"


@dataclass(frozen=True)
class Gelu(_OfTensorFlow):
    """Gaussian error linear units (Hendrycks and Gimpel 2016)."""

    name, function = "gelu", "gelu"


@dataclass(frozen=True)
class Swish(Activation):
    """Swish: x * sigmoid(x) (Ramachandran et al. 2017)."""

    name = "swish"

    def apply(self, inputs: Any, switch: Switch) -> Any:
        """Return the activations."""
        tf = tensorflow()
        return tf.multiply(inputs, tf.sigmoid(inputs), name="Swish")


@dataclass(frozen=True)
class Tanh(_OfTensorFlow):
    """The hyperbolic tangent."""

    name, function = "tanh", "tanh"


@dataclass(frozen=True)
class Sigmoid(_OfTensorFlow):
    """The logistic function: 1 / (1 + e^-x)."""

    name, function = "sigmoid", "sigmoid"


@dataclass(frozen=True)
class Softplus(_OfTensorFlow):
    """A smooth ReLU: log(1 + e^x)."""

    name, function = "softplus", "softplus"


_SCALINGS = {
    f"{name}_{kind}": (scale, mode, distribution)
    for name, scale, mode in (("glorot", 1.0, "fan_avg"), ("he", 2.0, "fan_in"), ("lecun", 1.0, "fan_in"))
    for kind, distribution in (("uniform", "uniform"), ("normal", "truncated_normal"))
}
"""Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998."""

INITIALIZERS = {
    **_SCALINGS,
    "glorot": _SCALINGS["glorot_uniform"],
    "xavier": _SCALINGS["glorot_uniform"],
    "xavier_uniform": _SCALINGS["glorot_uniform"],
    "xavier_normal": _SCALINGS["glorot_normal"],
    "he": _SCALINGS["he_normal"],
    "lecun": _SCALINGS["lecun_normal"],
}
"""Initialisers: the scale, mode and distribution of TensorFlow's `variance_scaling_initializer`. `glorot` is
uniform, as in TensorFlow's layers; `he` and `lecun` are truncated normal, the default of that initialiser."""


def initializer(name: str) -> Any:
    """Return TensorFlow's initialiser for a name."""
    scale, mode, distribution = INITIALIZERS[name]
    tf1 = tensorflow().compat.v1
    return tf1.variance_scaling_initializer(scale=scale, mode=mode, distribution=distribution)
