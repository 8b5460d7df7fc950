"""The layers of SPEC, each built as TensorFlow 1 ops with the names that `tf.layers` used.

`tf.compat.v1.layers` was removed in TensorFlow 2.16, so layers are built from ops.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from ckpttool.core.calls import Call, below_one, from_to, not_negative
from ckpttool.core.errors import PlanError
from ckpttool.runtime.activations import INITIALIZERS, Activation, Switch, activate, initializer
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.dropout import dropout

MAX_NORM = "ckpttool/max_norm"
"""The collection of bounds on kernels, `hidden1/kernel=1.0`, which are enforced after each training step."""
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""Names that TensorFlow accepts as an outermost scope (`VALID_OP_NAME_REGEX` of python/framework/ops.py)."""
MOST_UNITS = 2**31 - 1

Init = Annotated[str, tuple(INITIALIZERS)]
Padding = Literal["same", "valid", "SAME", "VALID"]
Sizes = tuple[int, int]
"""Height and width."""


_SERIES = 3
"""The rank of a batch of series: [rows, steps, channels]."""


@dataclass(frozen=True)
class Layer(Call):
    """A layer to be built."""

    noun, example = "layer", "hidden4 = dense(20, relu)"
    has_kernel: ClassVar[bool] = False
    """Whether it has a kernel, by which its inputs are multiplied."""
    keeps_shape: ClassVar[bool] = False
    """Whether its output has the shape of its input."""

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return why a name is not valid as a scope; None if it is."""
        return None if SCOPE.fullmatch(name) else "no TensorFlow scope: expected A-Z, a-z, 0-9 and _, and not _ first"

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Add the layer above a tensor, in the scope of its name, and return its output tensor."""
        raise NotImplementedError


class _WithKernel(Layer):
    """A layer with a kernel and an optional bias; a penalty or bound of 0 is disabled."""

    has_kernel: ClassVar[bool] = True
    activation: Activation | None
    init: str
    bias: bool
    l1: float
    l2: float
    max_norm: float

    def __post_init__(self) -> None:
        """Validate the penalties and the bound."""
        for parameter in ("l1", "l2", "max_norm"):
            not_negative(parameter, getattr(self, parameter))

    def make_kernel(self, shape: Sequence[int]) -> Any:
        """Create the kernel, and add its penalties and its bound to their collections."""
        tf = tensorflow()
        tf1 = tf.compat.v1
        kernel = tf1.get_variable("kernel", shape, initializer=initializer(self.init))
        with tf1.name_scope("penalty"):
            if self.l1:
                tf1.losses.add_loss(self.l1 * tf.reduce_sum(tf.abs(kernel)), "regularization_losses")
            if self.l2:
                tf1.losses.add_loss(self.l2 * tf.nn.l2_loss(kernel), "regularization_losses")
        if self.max_norm:
            tf1.add_to_collection(MAX_NORM, f"{kernel.op.name}={self.max_norm}")
        return kernel

    def add_bias(self, outputs: Any, switch: Switch) -> Any:
        """Add the bias, if the layer has one, and apply the activation."""
        tf = tensorflow()
        if self.bias:
            zeros = tf.compat.v1.zeros_initializer()
            bias = tf.compat.v1.get_variable("bias", [outputs.shape[-1]], initializer=zeros)
            outputs = tf.nn.bias_add(outputs, bias, name="BiasAdd")
        return activate(self.activation, outputs, switch)


@dataclass(frozen=True)
class Dense(_WithKernel):
    """A fully connected layer."""

    name = "dense"
    units: int
    activation: Activation | None = None
    init: Init = "glorot_uniform"
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        _count("units", self.units)

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Add the layer above a tensor of shape [rows, units]."""
        width = inputs.shape[-1] if inputs.shape.rank == 2 else None
        if width is None:
            before = "flatten() or global_avg_pool()" if inputs.shape.rank == 4 else "flatten()"
            given = f"{inputs.shape}; put {before} before it" if (inputs.shape.rank or 0) > 2 else f"{inputs.shape}"
            if inputs.shape.rank is None:
                given = "of a shape that the graph does not tell; put them on another layer, by `after` or `layers`"
            raise PlanError(f"{name}: dense needs inputs of [rows, units], {inputs.name} is {given}")
        outputs = tensorflow().matmul(inputs, self.make_kernel([width, self.units]), name="MatMul")
        return self.add_bias(outputs, switch)


@dataclass(frozen=True)
class Conv2D(_WithKernel):
    """A two-dimensional convolution."""

    name = "conv2d"
    filters: int
    kernel: Sizes = (3, 3)
    activation: Activation | None = None
    strides: Sizes = (1, 1)
    padding: Padding = "same"
    init: Init = "glorot_uniform"
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        _count("filters", self.filters)
        _count("kernel", *self.kernel)
        _count("strides", *self.strides)

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Put the layer on images."""
        with _on_images(self, name, inputs):
            kernel = self.make_kernel([*self.kernel, inputs.shape[-1], self.filters])
            conv2d = tensorflow().nn.conv2d
            outputs = conv2d(inputs, kernel, self.strides, self.padding.upper(), name="Conv2D")
        return self.add_bias(outputs, switch)


class _Pool(Layer):
    """A pooling layer; without strides it goes on by its size."""

    function: ClassVar[str]
    size: Sizes
    strides: Sizes | None
    padding: Padding

    def __post_init__(self) -> None:
        """Check the sizes."""
        _count("size", *self.size)
        _count("strides", *(self.strides or ()))

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Put the layer on images."""
        pool = getattr(tensorflow().nn, self.function)
        with _on_images(self, name, inputs):
            return pool(inputs, self.size, self.strides or self.size, self.padding.upper())


@dataclass(frozen=True)
class MaxPool(_Pool):
    """Max pooling of images."""

    name, function = "max_pool", "max_pool2d"
    size: Sizes = (2, 2)
    strides: Sizes | None = None
    padding: Padding = "valid"


@dataclass(frozen=True)
class AvgPool(_Pool):
    """Average pooling of images."""

    name, function = "avg_pool", "avg_pool2d"
    size: Sizes = (2, 2)
    strides: Sizes | None = None
    padding: Padding = "valid"


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """Global average pooling: the mean of each channel of an image or a sequence."""

    name = "global_avg_pool"

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Add the layer above images, or series [rows, steps, channels]."""
        if inputs.shape.rank == _SERIES and inputs.shape[-1] is not None:
            return tensorflow().reduce_mean(inputs, [1], name="Mean")
        with _on_images(self, name, inputs):
            return tensorflow().reduce_mean(inputs, [1, 2], name="Mean")


@dataclass(frozen=True)
class Flatten(Layer):
    """Flatten all dimensions but the first."""

    name = "flatten"

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Add the layer above a tensor whose rows have a known shape."""
        sizes = inputs.shape[1:].as_list()
        if None in sizes:
            raise PlanError(f"{name}: flatten needs rows of a known shape, {inputs.name} is {inputs.shape}")
        return tensorflow().reshape(inputs, [-1, prod(sizes)], name="Reshape")


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout with a rate, in training only (Srivastava et al. 2014)."""

    name = "dropout"
    keeps_shape: ClassVar[bool] = True
    rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        below_one("rate", self.rate)

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Put the layer on a tensor."""
        return dropout(inputs, self.rate, switch)


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """An activation without a layer of its own."""

    name = "activation"
    keeps_shape: ClassVar[bool] = True
    function: Activation | None

    def build(self, name: str, inputs: Any, switch: Switch) -> Any:
        """Apply the activation to a tensor."""
        return activate(self.function, inputs, switch)


def _count(parameter: str, *counts: int) -> None:
    """Validate numbers of units or filters, or sizes."""
    for count in counts:
        from_to(parameter, count, 1, MOST_UNITS, "a whole number")


@contextmanager
def _on_images(layer: Layer, name: str, inputs: Any) -> Iterator[None]:
    """Build on images.

    Raises:
        PlanError: if the inputs are not images, or a window is larger than the image.
    """
    if inputs.shape.rank != 4 or inputs.shape[-1] is None:
        given = f"{inputs.name} is {inputs.shape}"
        raise PlanError(f"{name}: {layer.name} needs inputs of [rows, height, width, channels], {given}")
    try:
        yield
    except ValueError as error:
        raise PlanError(f"{name}: {layer.name} does not fit on {inputs.name}, {inputs.shape}") from error
