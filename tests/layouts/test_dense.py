"""Dense layers, also after a flattened image, and embeddings: PyTorch's outputs from Keras and TensorFlow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.layouts import parse_layout
from ckpttool.layouts.dense import Dense

Random = Callable[..., Array]


def arrays_of(module: Any) -> list[Array]:
    return [parameter.detach().numpy() for parameter in module.parameters()]


def keras_layer(layer: Any, x: Array, *weights: Array) -> Array:
    layer.build(x.shape)
    layer.set_weights(weights)
    return np.asarray(layer(x))


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_dense(target: str, proved: Any, random: Random) -> None:
    import keras
    import tensorflow as tf
    import torch

    source, x = torch.nn.Linear(7, 5), random(3, 7)
    kernel, bias = arrays_of(source)
    run = {
        "keras": lambda kernel: keras_layer(keras.layers.Dense(5), x, kernel, bias),
        "tf1": lambda kernel: tf.nn.bias_add(tf.matmul(x, kernel), bias),
    }[target]
    proved("dense", [kernel], source(torch.tensor(x)).detach(), run)


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_dense_after_flatten(target: str, proved: Any, random: Random) -> None:
    import keras
    import tensorflow as tf
    import torch

    image = random(3, 4, 5, 2)  # channels, height and width differ, so that no other order passes
    source = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 6))
    kernel, bias = arrays_of(source)
    nhwc = image.transpose(0, 2, 3, 1)
    flat = {
        "keras": lambda: np.asarray(keras.layers.Flatten()(nhwc)),
        "tf1": lambda: tf.reshape(nhwc, [3, -1]).numpy(),
    }[target]()

    def run(kernel: Array) -> Any:
        return tf.matmul(flat, kernel) + bias

    expected = source(torch.tensor(image)).detach()
    [short] = proved("flatten(channels=4)", [kernel], expected, run)
    [checked] = proved("flatten(4, 5, 2)", [kernel], expected, run)
    assert short.tobytes() == checked.tobytes()


@pytest.mark.parametrize("source", ["torch", "keras"])
def test_dense_after_flatten_as_a_convolution_of_the_whole_image(source: str, proved: Any, random: Random) -> None:
    """slim's VGG."""
    import keras
    import tensorflow as tf
    import torch

    image, kernel = random(3, 4, 5, 5), random(100, 6)  # channels first
    nhwc = image.transpose(0, 2, 3, 1)
    if source == "torch":
        linear = torch.nn.Linear(100, 6, bias=False)
        [kernel] = arrays_of(linear)
        expected = torch.nn.Sequential(torch.nn.Flatten(), linear)(torch.tensor(image)).detach()
    else:
        flat = np.asarray(keras.layers.Flatten()(nhwc))
        expected = keras_layer(keras.layers.Dense(6, use_bias=False), flat, kernel)

    def run(kernel: Array) -> Any:
        return tf.nn.conv2d(nhwc, kernel, 1, "VALID")[:, 0, 0]

    proved(f"pointwise({source}, window=5)", [kernel], expected, run)


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_embedding(target: str, proved: Any) -> None:
    import keras
    import tensorflow as tf
    import torch

    source, tokens = torch.nn.Embedding(11, 4), np.array([[3, 10], [0, 3]])
    run = {
        "keras": lambda table: keras_layer(keras.layers.Embedding(11, 4), tokens, table),
        "tf1": lambda table: tf.nn.embedding_lookup(table, tokens),
    }[target]
    proved("embedding", arrays_of(source), source(torch.tensor(tokens)).detach(), run)


def test_keras_dense_is_tensorflow_s(proved: Any, random: Random) -> None:
    import keras
    import tensorflow as tf

    layer, x = keras.layers.Dense(5), random(3, 7)
    expected = layer(x)
    kernel, bias = layer.get_weights()
    proved("keep", [kernel], expected, lambda kernel: tf.nn.bias_add(tf.matmul(x, kernel), bias))


def test_turning_a_matrix_over_copies_nothing(random: Random) -> None:
    kernel = random(3, 2)
    layout = parse_layout("dense")
    [turned] = layout.apply([kernel])
    assert np.shares_memory(turned, kernel)
    assert np.shares_memory(layout.invert([turned])[0], kernel)


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        ("dense", [(2, 3, 4)], "dense: found [2, 3, 4], expected [outputs, inputs]"),
        ("dense", [(2, 3), (2,)], "dense: found [2, 3] [2], expected [outputs, inputs]"),
        ("embedding", [(5,)], "embedding: found [5], expected [tokens, width]"),
        (
            "flatten(3)",
            [(8, 40)],
            "flatten(channels=3): found [8, 40], expected [outputs, channels * height * width]",
        ),
        (
            "flatten(4, 5, 3)",
            [(8, 40)],
            "flatten(channels=4, height=5, width=3): found [8, 40], expected [outputs, channels * height * width]",
        ),
    ],
)
def test_arrays_that_do_not_fit(text: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout(text).apply([np.zeros(shape) for shape in shapes])
    assert str(error.value) == message


@pytest.mark.parametrize("text", ["flatten(0)", "flatten(4, 5)", "flatten(4, -1, 2)"])
def test_sizes_that_no_image_has(text: str) -> None:
    with pytest.raises(PlanError, match="expected sizes above 0"):
        parse_layout(text)


def test_small_kernels_are_converted_by_several_threads_and_large_ones_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Tensor.of("fc.weight", np.zeros((20, 30), np.float32))
    assert Dense().applied([kernel], ["fc/kernel"])[0].concurrent
    assert not Dense().applied([Tensor(kernel.spec, kernel.read)], ["fc/kernel"])[0].concurrent
    monkeypatch.setattr("ckpttool.layouts.layout.CONCURRENT", 2000)
    assert not Dense().applied([kernel], ["fc/kernel"])[0].concurrent
