"""Attention: PyTorch's outputs from Keras's layer, and from three or one dense layers of TensorFlow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Random = Callable[..., Array]
WIDTH, HEADS = 8, 4


@pytest.fixture
def x(random: Random) -> Array:
    """Two sequences of five tokens."""
    return random(2, 5, WIDTH)


@pytest.fixture(params=[True, False], ids=["biases", "no-biases"])
def source(request: pytest.FixtureRequest, x: Array, random: Random) -> tuple[list[Array], Array]:
    """The parameters of PyTorch's layer, all of them nonzero, and its outputs."""
    import torch

    layer = torch.nn.MultiheadAttention(WIDTH, HEADS, bias=request.param, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.tensor(random(*parameter.shape)) * 0.3)
    outputs, _ = layer(*[torch.tensor(x)] * 3)
    return [parameter.detach().numpy() for parameter in layer.parameters()], outputs.detach().numpy()


def in_keras(x: Array) -> Callable[..., Array]:
    import keras

    def run(*weights: Array) -> Array:
        layer = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, use_bias=len(weights) == 8)
        layer.build(x.shape, x.shape)
        layer.set_weights(weights)
        return np.asarray(layer(x, x))

    return run


def in_dense_layers(x: Array, joined: bool) -> Callable[..., Any]:
    """As BERT and GPT-2 compute it."""
    import tensorflow as tf

    def dense(x: Any, layer: list[Array]) -> Any:
        return tf.matmul(x, layer[0]) + (layer[1] if len(layer) > 1 else 0)

    def heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [2, 5, HEADS, WIDTH // HEADS]), [0, 2, 1, 3])

    def run(*weights: Array) -> Any:
        size = 1 if all(array.ndim == 2 for array in weights) else 2
        layers = [list(weights[at : at + size]) for at in range(0, len(weights), size)]
        *inner, output = layers
        found = tf.split(dense(x, inner[0]), 3, -1) if joined else [dense(x, layer) for layer in inner]
        query, key, value = (heads(each) for each in found)
        scores = tf.matmul(query, key, transpose_b=True) / np.sqrt(np.float32(WIDTH / HEADS))
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        return dense(tf.reshape(mixed, x.shape), output)

    return run


def test_torch_attention_in_keras(x: Array, source: tuple[list[Array], Array], proved: Any) -> None:
    arrays, expected = source
    proved("attention(torch, keras, heads=4)", arrays, expected, in_keras(x))


@pytest.mark.parametrize("joined", [False, True])
def test_torch_attention_in_dense_layers(
    joined: bool, x: Array, source: tuple[list[Array], Array], proved: Any
) -> None:
    arrays, expected = source
    target = "tf1_joined" if joined else "tf1"
    proved(f"attention(torch, {target})", arrays, expected, in_dense_layers(x, joined))


@pytest.mark.parametrize("form", ["torch_split", "tf1", "tf1_joined"])
def test_every_form_in_keras(form: str, x: Array, source: tuple[list[Array], Array], proved: Any) -> None:
    arrays, expected = source
    other = parse_layout(f"attention(torch, {form})").apply(arrays)
    proved(f"attention({form}, keras, heads=4)", other, expected, in_keras(x))


def test_keras_attention_in_dense_layers(x: Array, proved: Any, random: Random) -> None:
    import keras

    layer = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    layer.build(x.shape, x.shape)
    weights = [random(*array.shape) * np.float32(0.3) for array in layer.get_weights()]
    layer.set_weights(weights)
    expected = np.asarray(layer(x, x))
    proved("attention(keras, tf1, heads=4)", weights, expected, in_dense_layers(x, joined=False))


def test_a_source_of_keras_says_its_heads(random: Random) -> None:
    """Not the way back: a matrix does not show them."""
    arrays = [random(8, 4, 2), random(4, 2)] * 3
    layout, shapes = parse_layout("attention(keras, tf1)"), [array.shape for array in arrays]
    assert str(layout.fitted(shapes)) == "attention(source=keras, target=tf1, heads=4)"
    assert layout.shapes(shapes) == [(8, 8), (8,)] * 3
    carried = layout.apply(arrays)
    back = layout.fitted(shapes).invert(carried)
    assert [array.tobytes() for array in back] == [array.tobytes() for array in arrays]
    with pytest.raises(PlanError, match="attention of 8 outputs: expected heads that divide them, found 0"):
        layout.invert(carried)


def test_the_output_can_be_left_to_another_rule(random: Random) -> None:
    joined, bias = random(24, 8), random(24)
    found = parse_layout("attention(torch, tf1)").apply([joined, bias])
    assert [array.tolist() for array in found[::2]] == [joined[at : at + 8].T.tolist() for at in (0, 8, 16)]
    assert [array.tolist() for array in found[1::2]] == [bias[at : at + 8].tolist() for at in (0, 8, 16)]
    assert np.shares_memory(found[0], joined)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("attention(torch, tf1)", [(25, 8)], "found [25, 8], expected torch's in_proj kernel [3 * inner, width]"),
        ("attention(tf1, torch)", [(8, 8)] * 2, "found [8, 8] [8, 8], expected tf1's kernel [width, inner]"),
        ("attention(tf1, torch)", [(8, 2, 4)], "found [8, 2, 4], expected tf1's kernel"),
        ("attention(tf1, torch)", [], "found nothing, expected tf1's kernel"),
        (
            "attention(keras, torch, heads=2)",
            [(8, 4, 2)] * 3,
            "found [8, 4, 2] [8, 4, 2] [8, 4, 2], expected keras's kernel [width, heads, size]",
        ),
        ("attention(torch, keras, heads=3)", [(24, 8)], "attention of 8 outputs: expected heads that divide them"),
    ],
)
def test_arrays_that_do_not_fit(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout(text).apply([np.zeros(shape) for shape in shapes])
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["attention(torch, keras)", "attention(keras, keras)", "attention(torch, tf1, -1)"])
def test_a_target_of_keras_needs_its_heads(text: str) -> None:
    with pytest.raises(PlanError, match="expected heads=N above 0"):
        parse_layout(text)
