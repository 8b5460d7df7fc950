"""Convolutions of every kind: PyTorch's outputs from Keras and from TensorFlow's ops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Random = Callable[..., Array]
DIMENSIONS = [1, 2, 3]


def channels_last(array: Any) -> Array:
    return np.moveaxis(np.asarray(array.detach() if hasattr(array, "detach") else array), 1, -1)


def torch_layer(kind: str, dimensions: int, *arguments: int, **options: Any) -> Any:
    import torch

    return getattr(torch.nn, f"{kind}{dimensions}d")(*arguments, bias=False, **options)


def keras_layer(kind: str, x: Array, kernel: Array, *arguments: Any, **options: Any) -> Array:
    import keras

    layer = getattr(keras.layers, kind)(*arguments, use_bias=False, **options)
    layer.build(x.shape)
    layer.set_weights([kernel])
    return np.asarray(layer(x))


def image(random: Random, dimensions: int, channels: int) -> Array:
    return random(2, channels, *(9, 8, 7)[:dimensions])


def window(dimensions: int) -> tuple[int, ...]:
    return (4, 3, 2)[:dimensions]


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize(("target", "groups"), [("keras", 1), ("keras", 2), ("tf1", 1)])
def test_torch_conv(dimensions: int, target: str, groups: int, proved: Any, random: Random) -> None:
    """Groups are kept, because Keras has them too."""
    import tensorflow as tf
    import torch

    source = torch_layer("Conv", dimensions, 4, 6, window(dimensions), groups=groups)
    x = image(random, dimensions, 4)
    run = {
        "keras": lambda kernel: keras_layer(
            f"Conv{dimensions}D", channels_last(x), kernel, 6, window(dimensions), groups=groups
        ),
        "tf1": lambda kernel: tf.nn.convolution(channels_last(x), kernel, padding="VALID"),
    }[target]
    proved("conv", [source.weight.detach().numpy()], channels_last(source(torch.tensor(x))), run)


def test_torch_grouped_conv_kept_in_tensorflow(proved: Any, random: Random) -> None:
    """Conv2D computes the number of groups from the kernel's inputs."""
    import tensorflow as tf
    import torch

    source, x = torch_layer("Conv", 2, 4, 6, (4, 3), groups=2), image(random, 2, 4)

    def run(kernel: Array) -> Any:
        return tf.nn.conv2d(channels_last(x), kernel, 1, "VALID")

    proved("conv", [source.weight.detach().numpy()], channels_last(source(torch.tensor(x))), run)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_torch_grouped_conv_expanded(dimensions: int, proved: Any, random: Random) -> None:
    import tensorflow as tf
    import torch

    source = torch_layer("Conv", dimensions, 6, 9, window(dimensions), groups=3)
    x = image(random, dimensions, 6)

    def run(kernel: Array) -> Any:
        return tf.nn.convolution(channels_last(x), kernel, padding="VALID")

    proved("grouped(groups=3)", [source.weight.detach().numpy()], channels_last(source(torch.tensor(x))), run)


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(("target", "dimensions"), [("keras", 1), ("keras", 2), ("tf1", 2)])
def test_torch_depthwise(target: str, dimensions: int, multiplier: int, proved: Any, random: Random) -> None:
    import tensorflow as tf
    import torch

    source = torch_layer("Conv", dimensions, 3, 3 * multiplier, window(dimensions), groups=3)
    x = image(random, dimensions, 3)
    run = {
        "keras": lambda kernel: keras_layer(
            f"DepthwiseConv{dimensions}D",
            channels_last(x),
            kernel,
            window(dimensions) if dimensions > 1 else window(dimensions)[0],
            depth_multiplier=multiplier,
        ),
        "tf1": lambda kernel: tf.nn.depthwise_conv2d(channels_last(x), kernel, [1, 1, 1, 1], "VALID"),
    }[target]
    expected = channels_last(source(torch.tensor(x)))
    proved(f"depthwise(multiplier={multiplier})", [source.weight.detach().numpy()], expected, run)


@pytest.mark.parametrize("dimensions", DIMENSIONS)
@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_transposed(dimensions: int, target: str, proved: Any, random: Random) -> None:
    import tensorflow as tf
    import torch

    source = torch_layer("ConvTranspose", dimensions, 4, 3, window(dimensions), stride=2)
    x = image(random, dimensions, 4)
    expected = channels_last(source(torch.tensor(x)))
    run = {
        "keras": lambda kernel: keras_layer(
            f"Conv{dimensions}DTranspose", channels_last(x), kernel, 3, window(dimensions), strides=2
        ),
        "tf1": lambda kernel: tf.nn.conv_transpose(channels_last(x), kernel, expected.shape, 2, "VALID"),
    }[target]
    proved("transposed", [source.weight.detach().numpy()], expected, run)


@pytest.mark.parametrize("kind", ["Conv2D", "Conv2DTranspose"])
def test_keras_convolutions_are_tensorflow_s(kind: str, proved: Any, random: Random) -> None:
    import keras
    import tensorflow as tf

    layer, x = getattr(keras.layers, kind)(3, (4, 3), use_bias=False), random(2, 9, 8, 4)
    expected = np.asarray(layer(x))
    run = {
        "Conv2D": lambda kernel: tf.nn.conv2d(x, kernel, 1, "VALID"),
        "Conv2DTranspose": lambda kernel: tf.nn.conv2d_transpose(x, kernel, expected.shape, 1, "VALID"),
    }[kind]
    proved("keep", layer.get_weights(), expected, run)


def test_groups_that_training_has_joined_are_not_parted(random: Random) -> None:
    layout = parse_layout("grouped(2)")
    [full] = layout.apply([random(4, 1, 3, 3)])
    full[0, 0, 0, 3] = 1e-9
    with pytest.raises(PlanError, match=r"the kernel \[3, 3, 2, 4\] has weights between the groups, expected zeros"):
        layout.invert([full])


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("conv", (6, 4), "[outputs, inputs / groups, window of 1 to 3 sizes]"),
        ("transposed", (6,), "[inputs, outputs, window of 1 to 3 sizes]"),
        ("depthwise", (6, 2, 3, 3), "[channels * multiplier, 1, window of 1 to 3 sizes]"),
        ("depthwise(multiplier=4)", (6, 1, 3, 3), "[channels * multiplier, 1, window of 1 to 3 sizes]"),
        ("grouped(groups=4)", (6, 1, 3, 3), "[outputs, inputs / groups, window of 1 to 3 sizes]"),
    ],
)
def test_kernels_that_do_not_fit(text: str, shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout(text).shapes([shape])
    assert str(error.value) == f"{text}: found {list(shape)}, expected {expected}"


@pytest.mark.parametrize(
    ("text", "shape"), [("depthwise", (3, 3, 8, 2)), ("grouped(3)", (3, 3, 4, 6)), ("conv", (4, 6))]
)
def test_graph_kernels_that_do_not_fit(text: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="expected"):
        parse_layout(text).invert([np.zeros(shape)])


@pytest.mark.parametrize("text", ["grouped(0)", "depthwise(-1)"])
def test_numbers_that_cannot_be(text: str) -> None:
    with pytest.raises(PlanError, match="above 0"):
        parse_layout(text)
