"""ResNets in PyTorch and Keras, and as TensorFlow 1 graphs with slim's names."""

# ruff: noqa: D102, D107 - modules of PyTorch have the methods that modules have

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

RESNET50 = (3, 4, 6, 3)


class Variant(NamedTuple):
    """The differences between ResNets of one name: the epsilon, which convolution has the stride, and biases."""

    epsilon: float
    strided: str
    biased: bool


TORCHVISION = Variant(1e-5, "conv2", biased=False)
KERAS = Variant(1.001e-5, "conv1", biased=True)


class Bottleneck(nn.Module):
    """torchvision's: the stride is in the middle convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.bn1(self.conv1(x)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        return functional.relu(self.bn3(self.conv3(hidden)) + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's, of any depth and width, with random weights and statistics."""

    def __init__(self, depths: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for number, depth in enumerate(depths):
            blocks = []
            for place in range(depth):
                blocks.append(Bottleneck(inputs, width << number, 2 if number and not place else 1))
                inputs = 4 * (width << number)
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.stages = [f"layer{number + 1}" for number in range(len(depths))]
        self.fc = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_var is not None
                assert module.running_mean is not None
                for tensor in (module.weight, module.running_var):
                    nn.init.uniform_(tensor, 0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    nn.init.normal_(tensor, 0.0, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet_graph(tf1: Any, depths: Sequence[int], width: int, classes: int, variant: Variant = TORCHVISION) -> Any:
    """Return the same network with slim's names; it reads the placeholder `images`, channels last."""
    x = tf1.placeholder(tf1.float32, (None, None, None, 3), name="images")
    with tf1.variable_scope("resnet_v1_50"):
        x = tf1.nn.relu(_conv(tf1, "conv1", x, width, 7, 2, variant))
        x = tf1.nn.max_pool2d(_padded(tf1, x, 3), 3, 2, "VALID")
        for number, depth in enumerate(depths):
            for place in range(depth):
                with tf1.variable_scope(f"block{number + 1}/unit_{place + 1}/bottleneck_v1"):
                    x = _bottleneck(tf1, x, width << number, 2 if number and not place else 1, variant)
        x = tf1.reduce_mean(x, (1, 2), keepdims=True)
        with tf1.variable_scope("logits"):
            weights = tf1.get_variable("weights", (1, 1, x.shape[-1], classes))
            x = tf1.nn.conv2d(x, weights, 1, "VALID") + tf1.get_variable("biases", (classes,))
    return tf1.squeeze(x, (1, 2), name="answer")


def _bottleneck(tf1: Any, x: Any, width: int, stride: int, variant: Variant) -> Any:
    strides = {"conv1": 1, "conv2": 1, variant.strided: stride}
    hidden = tf1.nn.relu(_conv(tf1, "conv1", x, width, 1, strides["conv1"], variant))
    hidden = tf1.nn.relu(_conv(tf1, "conv2", hidden, width, 3, strides["conv2"], variant))
    hidden = _conv(tf1, "conv3", hidden, 4 * width, 1, 1, variant)
    if stride > 1 or x.shape[-1] != 4 * width:
        x = _conv(tf1, "shortcut", x, 4 * width, 1, stride, variant)
    return tf1.nn.relu(hidden + x)


def _conv(tf1: Any, name: str, x: Any, outputs: int, size: int, stride: int, variant: Variant) -> Any:
    with tf1.variable_scope(name):
        weights = tf1.get_variable("weights", (size, size, x.shape[-1], outputs))
        x = tf1.nn.conv2d(_padded(tf1, x, size), weights, stride, "VALID")
        x = x + tf1.get_variable("biases", (outputs,)) if variant.biased else x
        with tf1.variable_scope("BatchNorm"):
            gamma, beta = (tf1.get_variable(name, (outputs,)) for name in ("gamma", "beta"))
            moving = ("moving_mean", "moving_variance")
            mean, variance = (tf1.get_variable(name, (outputs,), trainable=False) for name in moving)
            return tf1.nn.batch_normalization(x, mean, variance, beta, gamma, variant.epsilon)


def _padded(tf1: Any, x: Any, size: int) -> Any:
    side = (size // 2, size // 2)
    return tf1.pad(x, [(0, 0), side, side, (0, 0)])


def keras_resnet(size: int, width: int, classes: int, depths: Sequence[int] = RESNET50) -> Any:
    """Return ResNet50 of keras.applications without its softmax, of any width, with random weights and statistics.

    With other `depths` it has other numbers of blocks.
    """
    import keras
    from keras.src.applications import resnet

    def blocks(x: Any) -> Any:
        for number, depth in enumerate(depths):
            stride = 2 if number else 1
            x = resnet.stack_residual_blocks_v1(x, 64 << number, depth, stride1=stride, name=f"conv{number + 2}")
        return x

    keras.utils.set_random_seed(1)
    sizes = {"input_shape": (size, size, 3), "classes": classes}
    network = resnet.ResNet(blocks, False, True, weights=None, classifier_activation=None, **sizes)
    if width != 64:
        config = network.get_config()
        for layer in config["layers"]:
            layer.pop("build_config", None)  # it says the shapes of the full width
            if "filters" in layer["config"]:
                layer["config"]["filters"] = layer["config"]["filters"] * width // 64
        network = keras.Model.from_config(config)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name != "kernel":
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return network
