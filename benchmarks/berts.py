"""A BERT in PyTorch, and as a TensorFlow 1 graph with google-research's names."""

# ruff: noqa: D102, D107 - modules of PyTorch have the methods that modules have

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-12


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
        parts: Any = self.embeddings
        x = parts["word_embeddings"](ids) + parts["token_type_embeddings"](types)
        x = parts["LayerNorm"](x + parts["position_embeddings"].weight[: ids.shape[1]])
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = self._layer(layer, x)
        return torch.tanh(self.pooler["dense"](x[:, 0]))

    def _layer(self, layer: Any, x: torch.Tensor) -> torch.Tensor:
        attention = layer["attention"]
        query, key, value = (self._split(attention["self"][name](x)) for name in ("query", "key", "value"))
        scores = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, -1)
        context = (scores @ value).transpose(1, 2).reshape(x.shape)
        x = attention["output"]["LayerNorm"](x + attention["output"]["dense"](context))
        hidden = functional.gelu(layer["intermediate"]["dense"](x))
        made: torch.Tensor = layer["output"]["LayerNorm"](x + layer["output"]["dense"](hidden))
        return made

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
    made = nn.LayerNorm(width, EPSILON)
    nn.init.uniform_(made.weight, 0.5, 1.5)
    nn.init.normal_(made.bias, 0.0, 0.1)
    return made


def bert_graph(
    tf1: Any, layers: int, width: int, heads: int, tokens: int, positions: int = 512, approximate: bool = False
) -> tuple[Any, Any]:
    """Return the last layer and the pooled output, the op `answer`, of the same network with google-research's names.

    It reads the placeholders `ids` and `types`. GELU is exact, or approximated by tanh as in the released models.
    """
    ids, types = (tf1.placeholder(tf1.int32, (None, None), name=name) for name in ("ids", "types"))
    with tf1.variable_scope("bert"):
        with tf1.variable_scope("embeddings"):
            x = tf1.gather(tf1.get_variable("word_embeddings", (tokens, width)), ids)
            x += tf1.gather(tf1.get_variable("token_type_embeddings", (2, width)), types)
            x += tf1.get_variable("position_embeddings", (positions, width))[: tf1.shape(ids)[1]]
            x = _normed(tf1, x, width)
        for number in range(layers):
            with tf1.variable_scope(f"encoder/layer_{number}"):
                x = _encoder(tf1, x, width, heads, approximate)
        with tf1.variable_scope("pooler"):
            return x, tf1.identity(tf1.tanh(_dense(tf1, "dense", x[:, 0], width, width)), name="answer")


def masked_head(tf1: Any, rows: Any, tokens: int, epsilon: float = EPSILON) -> None:
    """Add the head that predicts masked words to the last layer, as the op `masked`."""
    width = rows.shape[-1]
    with tf1.variable_scope("bert/embeddings", reuse=True):
        table = tf1.get_variable("word_embeddings", (tokens, width))
    with tf1.variable_scope("cls/predictions"):
        with tf1.variable_scope("transform"):
            x = _normed(tf1, _gelu(tf1, _dense(tf1, "dense", rows, width, width)), width, epsilon)
        product = tf1.matmul(tf1.reshape(x, (-1, width)), table, transpose_b=True)
        product = tf1.reshape(product, tf1.concat([tf1.shape(x)[:-1], [tokens]], 0))
        tf1.add(product, tf1.get_variable("output_bias", (tokens,)), name="masked")


def class_head(tf1: Any, pooled: Any, classes: int, scope: str = "") -> None:
    """Add a classification head to the pooled output, as the op `classes`; its kernel is transposed when it is read."""
    with tf1.variable_scope(scope or tf1.get_variable_scope()):
        weights = tf1.get_variable("output_weights", (classes, pooled.shape[-1]))
        bias = tf1.get_variable("output_bias", (classes,))
        tf1.add(tf1.matmul(pooled, weights, transpose_b=True), bias, name="classes")


def _encoder(tf1: Any, x: Any, width: int, heads: int, approximate: bool) -> Any:
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
        hidden = _gelu(tf1, _dense(tf1, "dense", x, width, 4 * width), approximate)
    with tf1.variable_scope("output"):
        return _normed(tf1, x + _dense(tf1, "dense", hidden, 4 * width, width), width)


def _gelu(tf1: Any, x: Any, approximate: bool = False) -> Any:
    if approximate:
        return 0.5 * x * (1.0 + tf1.tanh((2.0 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + tf1.erf(x / 2.0**0.5))


def _dense(tf1: Any, name: str, x: Any, inputs: int, outputs: int) -> Any:
    with tf1.variable_scope(name):
        product = tf1.matmul(tf1.reshape(x, (-1, inputs)), tf1.get_variable("kernel", (inputs, outputs)))
        rows = tf1.reshape(product, tf1.concat([tf1.shape(x)[:-1], [outputs]], 0))
        return rows + tf1.get_variable("bias", (outputs,))


def _normed(tf1: Any, x: Any, width: int, epsilon: float = EPSILON) -> Any:
    with tf1.variable_scope("LayerNorm"):
        beta, gamma = (tf1.get_variable(name, (width,)) for name in ("beta", "gamma"))
        mean, variance = tf1.nn.moments(x, -1, keepdims=True)
        return tf1.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
