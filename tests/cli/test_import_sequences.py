"""Embeddings, recurrent cells and attentions of PyTorch and Keras in TensorFlow 1 graphs: imported and verified."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from ckpttool.runtime.configure import tensorflow

TOKENS, WIDTH, UNITS, HEADS, STEPS = 11, 8, 6, 2, 5
ROWS = np.random.default_rng(3).integers(0, TOKENS, (4, STEPS)).astype(np.int32)
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")  # warnings of TensorFlow 1's own cells

Middle = Callable[[Any], Any]


def graph(folder: Path, middle: Middle) -> Path:
    """A TensorFlow 1 network: a table that is looked up, a middle part, a dense layer."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        X = tf1.placeholder(tf1.int32, (None, STEPS), name="X")
        with tf1.variable_scope("embedding"):
            x = tf1.nn.embedding_lookup(tf1.get_variable("embeddings", (TOKENS, WIDTH)), X, name="found")
        x = tf1.identity(middle(x), name="middle")
        with tf1.variable_scope("out"):
            dense(x, 3)
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(folder / "graph.meta"))
    return folder / "graph.meta"


def dense(x: Any, units: int) -> Any:
    """As tf.layers computes a dense layer of sequences."""
    tf1 = tensorflow().compat.v1
    product = tf1.tensordot(x, tf1.get_variable("kernel", (x.shape[-1], units)), 1)
    return tf1.nn.bias_add(product, tf1.get_variable("bias", (units,)))


def cell(kind: str) -> Middle:
    """TensorFlow 1's own cell, in its loop."""

    def middle(x: Any) -> Any:
        from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

        made = getattr(rnn_cell_impl, kind)(UNITS)
        tf1 = tensorflow().compat.v1
        return tf1.nn.dynamic_rnn(made, x, dtype=tf1.float32)[0]

    return middle


def gru_of_keras(x: Any) -> Any:
    """The equations of a GRU with `reset_after`, with Keras's variables."""
    tf1 = tensorflow().compat.v1
    state, outputs = tf1.zeros((tf1.shape(x)[0], UNITS)), []
    with tf1.variable_scope("gru"):
        kernel = tf1.get_variable("kernel", (WIDTH, 3 * UNITS))
        recurrent = tf1.get_variable("recurrent_kernel", (UNITS, 3 * UNITS))
        bias = tf1.get_variable("bias", (2, 3 * UNITS))
    for step in range(STEPS):
        z, r, h = tf1.split(tf1.matmul(x[:, step], kernel) + bias[0], 3, 1)
        rz, rr, rh = tf1.split(tf1.matmul(state, recurrent) + bias[1], 3, 1)
        update = tf1.sigmoid(z + rz)
        state = update * state + (1 - update) * tf1.tanh(h + tf1.sigmoid(r + rr) * rh)
        outputs.append(state)
    return tf1.stack(outputs, 1)


def attention(x: Any, joined: bool = False) -> Any:
    """An attention of dense layers, as in BERT or GPT-2."""
    tf1 = tensorflow().compat.v1

    def scoped(scope: str, x: Any, units: int) -> Any:
        with tf1.variable_scope(f"attn/{scope}"):
            return dense(x, units)

    def heads(x: Any) -> Any:
        return tf1.transpose(tf1.reshape(x, (-1, STEPS, HEADS, WIDTH // HEADS)), (0, 2, 1, 3))

    if joined:
        query, key, value = tf1.split(scoped("c_attn", x, 3 * WIDTH), 3, -1)
    else:
        query, key, value = (scoped(name, x, WIDTH) for name in ("query", "key", "value"))
    scores = tf1.matmul(heads(query), heads(key), transpose_b=True) / np.sqrt(np.float32(WIDTH / HEADS))
    mixed = tf1.transpose(tf1.matmul(tf1.nn.softmax(scores), heads(value)), (0, 2, 1, 3))
    return scoped("c_proj" if joined else "output", tf1.reshape(mixed, (-1, STEPS, WIDTH)), WIDTH)


def joined_attention(x: Any) -> Any:
    return attention(x, joined=True)


class Net(torch.nn.Module):
    """The network in PyTorch."""

    def __init__(self, middle: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.embedding, self.middle, self.out = torch.nn.Embedding(TOKENS, WIDTH), middle, torch.nn.Linear(width, 3)

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.embedding(rows)
        is_attention = isinstance(self.middle, torch.nn.MultiheadAttention)
        middle, *_ = self.middle(found, found, found) if is_attention else self.middle(found)
        return {"embedding": found, "middle": middle, "out": self.out(middle)}


def of_torch(folder: Path, middle: torch.nn.Module, width: int) -> Path:
    """Save random weights of a PyTorch network, and its outputs."""
    torch.manual_seed(4)
    net = Net(middle, width)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
        computed = {name: value.numpy() for name, value in net(torch.tensor(ROWS)).items()}
    torch.save(net.state_dict(), folder / "net.pt")
    np.savez(folder / "sample.npz", X=ROWS, **computed)
    return folder / "net.pt"


def of_keras(folder: Path, middle: Any) -> Path:
    """The same for a Keras network."""
    inputs = keras.Input((STEPS,), dtype="int32")
    found = keras.layers.Embedding(TOKENS, WIDTH, name="embedding")(inputs)
    is_attention = isinstance(middle, keras.layers.MultiHeadAttention)
    inner = middle(found, found) if is_attention else middle(found)
    outputs = {"embedding": found, "middle": inner, "out": keras.layers.Dense(3, name="out")(inner)}
    net, random = keras.Model(inputs, outputs), np.random.default_rng(5)
    net.set_weights([random.normal(size=array.shape) * 0.4 for array in net.get_weights()])
    np.savez(folder / "sample.npz", X=ROWS, **{name: np.asarray(value) for name, value in net(ROWS).items()})
    net.save_weights(folder / "net.weights.h5")
    return folder / "net.weights.h5"


def torch_source(kind: str) -> Callable[[Path], Path]:
    if kind == "MultiheadAttention":
        return lambda folder: of_torch(folder, torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), WIDTH)
    return lambda folder: of_torch(folder, getattr(torch.nn, kind)(WIDTH, UNITS, batch_first=True), UNITS)


def keras_source(kind: str, **options: Any) -> Callable[[Path], Path]:
    if kind == "MultiHeadAttention":
        return lambda folder: of_keras(folder, keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attn"))
    layer = getattr(keras.layers, kind)
    return lambda folder: of_keras(folder, layer(UNITS, return_sequences=True, name="rnn", **options))


CASES: dict[str, tuple[Callable[[Path], Path], Middle]] = {
    "torch LSTM": (torch_source("LSTM"), cell("BasicLSTMCell")),
    "torch GRU": (torch_source("GRU"), gru_of_keras),
    "torch attention": (torch_source("MultiheadAttention"), attention),
    "torch attention, joined": (torch_source("MultiheadAttention"), joined_attention),
    "keras LSTM": (keras_source("LSTM"), cell("BasicLSTMCell")),
    "keras GRU": (keras_source("GRU"), gru_of_keras),
    "keras GRU that resets before": (keras_source("GRU", reset_after=False), cell("GRUCell")),
    "keras attention": (keras_source("MultiHeadAttention"), attention),
    "keras attention, joined": (keras_source("MultiHeadAttention"), joined_attention),
}
"""The source of the weights, and the graph's middle part."""


@pytest.mark.parametrize("case", CASES)
def test_a_network_of_sequences_by_its_draft(case: str, shell: Any, tmp_path: Path) -> None:
    """The draft is sufficient: it converts whole layers."""
    source, middle = CASES[case]
    weights, into = source(tmp_path), graph(tmp_path, middle)
    how = ["import", weights, "--into", into]
    shell.run(*how, "--suggest", "-o", tmp_path / "rules.toml")
    options = ["--rules", tmp_path / "rules.toml", "--check", tmp_path / "sample.npz", "-o", tmp_path / "out.ckpt"]
    result = shell.run(*how, *options)
    rows = [line.split("\t") for line in result.stdout.splitlines()[-3:]]
    assert [(row[0], row[-1]) for row in rows] == [("embedding", "yes"), ("middle", "yes"), ("out", "yes")]
    assert "checked: 3 tensors equal" in result.stderr
