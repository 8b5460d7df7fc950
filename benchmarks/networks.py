"""A ResNet and a BERT, each written twice: in PyTorch with its users' names, and as a TensorFlow 1 graph with its.

The ResNet's graph is torchvision's or Keras's network, whose own code is the other half of that.
"""

# ruff: noqa: D102, D107 - modules of PyTorch have the methods that modules have

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ckpttool.runtime.tensorflow import tensorflow

BERT_EPSILON = 1e-12
RESNET50 = (3, 4, 6, 3)


class Variant(NamedTuple):
    """What differs between ResNets of one name: an epsilon, which convolution strides, whether they have biases."""

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
                for tensor in (module.weight, module.running_var):
                    nn.init.uniform_(tensor, 0.5, 1.5)
                for tensor in (module.bias, module.running_mean):
                    nn.init.normal_(tensor, 0.0, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


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


def keras_resnet(size: int, width: int, classes: int) -> Any:
    """Return ResNet50 of keras.applications without its softmax, of any width, with random weights and statistics."""
    import keras

    keras.utils.set_random_seed(1)
    sizes = {"input_shape": (size, size, 3), "classes": classes}
    network = keras.applications.ResNet50(weights=None, classifier_activation=None, **sizes)
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


class Bert(nn.Module):
    """Hugging Face's BertModel, with random weights."""

    def __init__(self, layers: int, width: int, heads: int, tokens: int, positions: int = 512) -> None:
        super().__init__()
        self.heads = heads
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(tokens, width),
                "position_embeddings": nn.Embedding(positions, width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": _layer_norm(width),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_bert_layer(width) for _ in range(layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        parts = self.embeddings
        x = parts["word_embeddings"](ids) + parts["token_type_embeddings"](types)
        x = parts["LayerNorm"](x + parts["position_embeddings"].weight[: ids.shape[1]])
        for layer in self.encoder["layer"]:
            x = self._layer(layer, x)
        return torch.tanh(self.pooler["dense"](x[:, 0]))

    def _layer(self, layer: Any, x: torch.Tensor) -> torch.Tensor:
        attention = layer["attention"]
        query, key, value = (self._split(attention["self"][name](x)) for name in ("query", "key", "value"))
        scores = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, -1)
        context = (scores @ value).transpose(1, 2).reshape(x.shape)
        x = attention["output"]["LayerNorm"](x + attention["output"]["dense"](context))
        hidden = functional.gelu(layer["intermediate"]["dense"](x))
        return layer["output"]["LayerNorm"](x + layer["output"]["dense"](hidden))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def _bert_layer(width: int) -> nn.ModuleDict:
    names = ("query", "key", "value")
    output = {"dense": nn.Linear(width, width), "LayerNorm": _layer_norm(width)}
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict(
                {
                    "self": nn.ModuleDict({name: nn.Linear(width, width) for name in names}),
                    "output": nn.ModuleDict(output),
                }
            ),
            "intermediate": nn.ModuleDict({"dense": nn.Linear(width, 4 * width)}),
            "output": nn.ModuleDict({"dense": nn.Linear(4 * width, width), "LayerNorm": _layer_norm(width)}),
        }
    )


def _layer_norm(width: int) -> nn.LayerNorm:
    made = nn.LayerNorm(width, BERT_EPSILON)
    nn.init.uniform_(made.weight, 0.5, 1.5)
    nn.init.normal_(made.bias, 0.0, 0.1)
    return made


def bert_graph(tf1: Any, layers: int, width: int, heads: int, tokens: int, positions: int = 512) -> Any:
    """Return the same network with google-research's names; it reads the placeholders `ids` and `types`."""
    ids, types = (tf1.placeholder(tf1.int32, (None, None), name=name) for name in ("ids", "types"))
    with tf1.variable_scope("bert"):
        with tf1.variable_scope("embeddings"):
            x = tf1.gather(tf1.get_variable("word_embeddings", (tokens, width)), ids)
            x += tf1.gather(tf1.get_variable("token_type_embeddings", (2, width)), types)
            x += tf1.get_variable("position_embeddings", (positions, width))[: tf1.shape(ids)[1]]
            x = _normed(tf1, x, width)
        for number in range(layers):
            with tf1.variable_scope(f"encoder/layer_{number}"):
                x = _encoder(tf1, x, width, heads)
        with tf1.variable_scope("pooler"):
            return tf1.identity(tf1.tanh(_dense(tf1, "dense", x[:, 0], width, width)), name="answer")


def _encoder(tf1: Any, x: Any, width: int, heads: int) -> Any:
    shape = tf1.shape(x)
    with tf1.variable_scope("attention"):
        with tf1.variable_scope("self"):
            names = ("query", "key", "value")
            parts = (_dense(tf1, name, x, width, width) for name in names)
            sizes = (shape[0], shape[1], heads, width // heads)
            query, key, value = (tf1.transpose(tf1.reshape(part, sizes), (0, 2, 1, 3)) for part in parts)
            scores = tf1.nn.softmax(tf1.matmul(query, key, transpose_b=True) / (width // heads) ** 0.5)
            context = tf1.reshape(tf1.transpose(tf1.matmul(scores, value), (0, 2, 1, 3)), shape)
        with tf1.variable_scope("output"):
            x = _normed(tf1, x + _dense(tf1, "dense", context, width, width), width)
    with tf1.variable_scope("intermediate"):
        hidden = _dense(tf1, "dense", x, width, 4 * width)
        hidden = 0.5 * hidden * (1.0 + tf1.erf(hidden / 2.0**0.5))
    with tf1.variable_scope("output"):
        return _normed(tf1, x + _dense(tf1, "dense", hidden, 4 * width, width), width)


def _dense(tf1: Any, name: str, x: Any, inputs: int, outputs: int) -> Any:
    with tf1.variable_scope(name):
        product = tf1.matmul(tf1.reshape(x, (-1, inputs)), tf1.get_variable("kernel", (inputs, outputs)))
        rows = tf1.reshape(product, tf1.concat([tf1.shape(x)[:-1], [outputs]], 0))
        return rows + tf1.get_variable("bias", (outputs,))


def _normed(tf1: Any, x: Any, width: int) -> Any:
    with tf1.variable_scope("LayerNorm"):
        beta, gamma = (tf1.get_variable(name, (width,)) for name in ("beta", "gamma"))
        mean, variance = tf1.nn.moments(x, -1, keepdims=True)
        return tf1.nn.batch_normalization(x, mean, variance, beta, gamma, BERT_EPSILON)


def exported(path: Path, build: Callable[..., Any], *sizes: Any) -> Path:
    """Write the graph of a network, without a checkpoint."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        build(tf1, *sizes)
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(path))
    return path


def answer(prefix: Path, feed: dict[str, Any]) -> Any:
    """Return what a plain session computes of the op named `answer`."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{prefix}.meta").restore(session, str(prefix))
        (found,) = (op.outputs[0] for op in session.graph.get_operations() if op.name.endswith("answer"))
        return session.run(found, feed)
