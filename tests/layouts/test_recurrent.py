"""LSTM and GRU: the outputs of PyTorch's and Keras's cells from Keras's and TensorFlow 1's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Random = Callable[..., Array]
INPUTS, UNITS = 3, 5

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")  # warnings of TensorFlow 1's own cells


@pytest.fixture
def x(random: Random) -> Array:
    """Two sequences of six steps."""
    return random(2, 6, INPUTS)


def torch_cell(kind: str, x: Array, bias: bool = True) -> tuple[list[Array], Array]:
    """The parameters of a PyTorch cell, and its outputs."""
    import torch

    layer = getattr(torch.nn, kind)(INPUTS, UNITS, batch_first=True, bias=bias)
    outputs, _ = layer(torch.tensor(x))
    return [parameter.detach().numpy() for parameter in layer.parameters()], outputs.detach().numpy()


def keras_cell(kind: str, x: Array, random: Random, **options: Any) -> tuple[list[Array], Array]:
    """The weights of a Keras cell, all of them nonzero, and its outputs."""
    layer = keras_layer(kind, **options)
    layer.build(x.shape)
    weights = [random(*array.shape) * np.float32(0.3) for array in layer.get_weights()]
    layer.set_weights(weights)
    return weights, np.asarray(layer(x))


def keras_layer(kind: str, **options: Any) -> Any:
    import keras

    return getattr(keras.layers, kind)(UNITS, return_sequences=True, **options)


def in_keras(kind: str, x: Array, **options: Any) -> Callable[..., Array]:
    def run(*weights: Array) -> Array:
        layer = keras_layer(kind, use_bias=len(weights) == 3, **options)
        layer.build(x.shape)
        layer.set_weights(weights)
        return np.asarray(layer(x))

    return run


def in_tf1(kind: str, x: Array, **options: Any) -> Callable[..., Array]:
    """Run TensorFlow 1's own cell in a session, with values for its variables in creation order."""
    import tensorflow as tf
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    tf1 = tf.compat.v1

    def run(*weights: Array) -> Array:
        with tf.Graph().as_default(), tf1.Session() as session:
            cell = getattr(rnn_cell_impl, kind)(UNITS, **options)
            outputs, _ = tf1.nn.dynamic_rnn(cell, tf.constant(x), dtype=tf.float32)
            for variable, value in zip(tf1.global_variables(), weights, strict=True):
                session.run(tf1.assign(variable, value))
            return np.asarray(session.run(outputs))

    return run


def in_lstm_block_cell(x: Array) -> Callable[..., Array]:
    """The op of TensorFlow 1's LSTMBlockCell."""
    import tensorflow as tf

    def run(kernel: Array, bias: Array) -> Array:
        memory = state = np.zeros((len(x), UNITS), np.float32)
        none, outputs = np.zeros(UNITS, np.float32), []
        for step in range(x.shape[1]):
            found = tf.raw_ops.LSTMBlockCell(
                x=x[:, step],
                cs_prev=memory,
                h_prev=state,
                w=kernel,
                wci=none,
                wcf=none,
                wco=none,
                b=bias,
                forget_bias=1.0,
                cell_clip=-1.0,
            )
            memory, state = found.cs, found.h
            outputs.append(state)
        return np.stack(outputs, 1)

    return run


def in_gru_block_cell(x: Array) -> Callable[..., Array]:
    """The op of TensorFlow 1's GRUBlockCellV2."""
    import tensorflow as tf

    def run(kernel: Array, bias: Array, candidate_kernel: Array, candidate_bias: Array) -> Array:
        state, outputs = np.zeros((len(x), UNITS), np.float32), []
        for step in range(x.shape[1]):
            state = tf.raw_ops.GRUBlockCell(
                x=x[:, step], h_prev=state, w_ru=kernel, w_c=candidate_kernel, b_ru=bias, b_c=candidate_bias
            ).h
            outputs.append(state)
        return np.stack(outputs, 1)

    return run


def in_cudnn_compatible(x: Array) -> Callable[..., Array]:
    """CudnnCompatibleGRUCell of TensorFlow 1.15's contrib, which later versions do not have: its equations."""

    def sigmoid(z: Array) -> Array:
        return 1 / (1 + np.exp(-z))

    def run(*weights: Array) -> Array:
        kernel, bias, input_kernel, input_bias, hidden_kernel, hidden_bias = weights
        state, outputs = np.zeros((len(x), UNITS), np.float32), []
        for step in range(x.shape[1]):
            both = np.concatenate([x[:, step], state], 1)
            reset, update = np.split(sigmoid(both @ kernel + bias), 2, 1)
            hidden = reset * (state @ hidden_kernel + hidden_bias)
            candidate = np.tanh(x[:, step] @ input_kernel + input_bias + hidden)
            state = (1 - update) * candidate + update * state
            outputs.append(state)
        return np.stack(outputs, 1)

    return run


def test_torch_lstm_in_keras(x: Array, proved: Any) -> None:
    arrays, expected = torch_cell("LSTM", x)
    proved("lstm(torch, keras)", arrays, expected, in_keras("LSTM", x), exact=False)


@pytest.mark.parametrize("kind", ["BasicLSTMCell", "LSTMCell"])
def test_torch_lstm_in_tensorflow_1(kind: str, x: Array, proved: Any) -> None:
    arrays, expected = torch_cell("LSTM", x)
    proved("lstm(torch, tf1)", arrays, expected, in_tf1(kind, x), exact=False)


def test_keras_lstm_in_tensorflow_1(x: Array, proved: Any, random: Random) -> None:
    arrays, expected = keras_cell("LSTM", x, random)
    proved("lstm(keras, tf1)", arrays, expected, in_tf1("BasicLSTMCell", x), exact=False)
    proved("lstm(keras, tf1)", arrays, expected, in_lstm_block_cell(x), exact=False)
    plain = in_tf1("BasicLSTMCell", x, forget_bias=0.0)
    proved("lstm(keras, tf1, forget_bias=0)", arrays, expected, plain)


def test_lstm_whose_recurrent_bias_is_zero_comes_back_as_it_was(x: Array, proved: Any) -> None:
    arrays, _ = torch_cell("LSTM", x)
    arrays[3] = np.zeros_like(arrays[3])
    layout = parse_layout("lstm(torch, keras)")
    assert [array.tobytes() for array in layout.invert(layout.apply(arrays))] == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_torch_cells_without_biases_in_keras(kind: str, x: Array, proved: Any) -> None:
    arrays, expected = torch_cell(kind, x, bias=False)
    proved(f"{kind.lower()}(torch, keras)", arrays, expected, in_keras(kind, x))


def test_torch_gru_in_keras(x: Array, proved: Any) -> None:
    arrays, expected = torch_cell("GRU", x)
    proved("gru(torch, keras)", arrays, expected, in_keras("GRU", x, reset_after=True))


def test_torch_gru_in_tensorflow_1_s_cudnn_compatible_cell(x: Array, proved: Any) -> None:
    arrays, expected = torch_cell("GRU", x)
    proved("gru(torch, tf1_cudnn)", arrays, expected, in_cudnn_compatible(x), exact=False)


def test_keras_gru_that_resets_before_in_tensorflow_1(x: Array, proved: Any, random: Random) -> None:
    arrays, expected = keras_cell("GRU", x, random, reset_after=False)
    for run in (in_tf1("GRUCell", x), in_gru_block_cell(x)):
        proved("gru(keras_reset_before, tf1)", arrays, expected, run)


@pytest.mark.parametrize("forms", ["torch, tf1", "torch, keras_reset_before", "keras, tf1", "tf1, keras"])
def test_resets_before_and_after_are_not_made_equal(forms: str) -> None:
    with pytest.raises(PlanError, match=r"no weights make \w+ and \w+ equal: the reset gate acts after"):
        parse_layout(f"gru({forms})")


@pytest.mark.parametrize(
    ("text", "shapes", "found"),
    [
        ("lstm(torch, keras)", [(20, 3), (20, 4), (20,), (20,)], "[20, 3] [20, 4] [20] [20]"),
        ("lstm(torch, keras)", [(20, 3), (20, 5), (20,)], "[20, 3] [20, 5] [20]"),
        ("gru(torch, keras)", [(14, 3), (14, 5)], "[14, 3] [14, 5]"),
        ("gru(keras, torch)", [(3, 15), (5, 15), (15,)], "[3, 15] [5, 15] [15]"),
        ("lstm(tf1, keras)", [(4, 20), (20,)], "[4, 20] [20]"),
        ("gru(tf1, keras_reset_before)", [(8, 10), (10,), (8, 5)], "[8, 10] [10] [8, 5]"),
        ("lstm(keras, tf1)", [], "nothing"),
        ("lstm(keras, tf1)", [(20,)], "[20]"),
    ],
)
def test_arrays_that_do_not_fit(text: str, shapes: list[tuple[int, ...]], found: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout(text).apply([np.zeros(shape) for shape in shapes])
    assert f": found {found}, expected " in str(error.value)


@pytest.mark.parametrize("text", ["lstm(torch, tf1)", "gru(torch, tf1_cudnn)"])
def test_tensorflow_1_s_cells_need_biases(text: str) -> None:
    gates = 4 if text.startswith("lstm") else 3
    with pytest.raises(PlanError, match="5 units without biases"):
        parse_layout(text).apply([np.zeros((gates * 5, 3)), np.zeros((gates * 5, 5))])


def test_forms_that_are_not_known() -> None:
    with pytest.raises(PlanError, match="no form caffe; there are torch, keras, tf1"):
        parse_layout("lstm(torch, caffe)")
