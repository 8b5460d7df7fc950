"""Autoencoders: the effect of noise on rows, the target of a layer, and decoders of convolutions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.runtime.pretraining.method import Place, TrainedLayer
from ckpttool.runtime.pretraining.methods import PretrainingMethod


def method(text: str) -> Any:
    return PretrainingMethod.read(text, "`method`")


def put(text: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(method(f"autoencoder(noise={text})").noise.put(rows.astype(np.float32)))


def test_noise_is_what_it_says() -> None:
    rows = np.ones((200, 50))
    assert np.std(put("gaussian(0.2)", rows) - 1) == pytest.approx(0.2, rel=0.05)
    masked = put("mask(0.25)", rows)
    assert {*np.unique(masked)} == {0, 1} and np.mean(masked == 0) == pytest.approx(0.25, abs=0.02)
    assert np.std((masked == 0).mean(axis=0)) > 0  # drawn anew for each row


Computed = tuple[dict[str, np.ndarray], np.ndarray, float]


@pytest.fixture
def computed() -> Callable[..., Computed]:
    """The variables, outputs and loss of a layer with an autoencoder."""

    def computed(text: str, given: np.ndarray, kernel: np.ndarray, layer: Callable[[Any, Any], Any]) -> Computed:
        import tensorflow as tf

        tf1 = tf.compat.v1
        with tf.Graph().as_default(), tf1.Session() as session:
            variable = tf1.get_variable("kernel", kernel.shape, initializer=tf.constant_initializer(kernel))
            rows = tf.constant(given)
            outputs = layer(rows, variable)
            place = Place(rows, outputs, lambda: tf.constant(False), (TrainedLayer(rows, outputs, variable),))
            loss = method(text).judged(place, rows).loss
            session.run(tf1.global_variables_initializer())
            return session.run([{each.op.name: each for each in tf1.global_variables()}, outputs, loss])

    return computed


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("compare", ["squared", "cross_entropy"])
def test_the_loss_of_a_dense_layer(computed: Callable[..., Computed], tied: bool, compare: str) -> None:
    import tensorflow as tf

    draw = np.random.default_rng(0)
    given, kernel = draw.random((6, 5), np.float32), draw.normal(size=(5, 3)).astype(np.float32)
    text = f"autoencoder(tied={tied}, compare={compare}, sparsity=0.3)"
    values, outputs, loss = computed(text, given, kernel, lambda rows, kernel: tf.tanh(rows @ kernel))
    assert sorted(values) == sorted(["kernel", "decoder/bias", *([] if tied else ["decoder/kernel"])])
    decoded = outputs @ (kernel.T if tied else values["decoder/kernel"]) + values["decoder/bias"]
    chances = 1 / (1 + np.exp(-decoded))
    error = {
        "squared": np.mean((decoded - given) ** 2),
        "cross_entropy": -np.mean(given * np.log(chances) + (1 - given) * np.log(1 - chances)),
    }
    assert loss == pytest.approx(error[compare] + 0.3 * np.mean(np.abs(outputs)), rel=1e-5)


@pytest.mark.parametrize(("size", "strides", "padding"), [(6, 1, "same"), (7, 2, "same"), (7, 2, "valid")])
def test_a_convolution_decodes_as_pytorchs_transposed_one(
    computed: Callable[..., Computed], size: int, strides: int, padding: str
) -> None:
    import tensorflow as tf
    import torch

    draw = np.random.default_rng(1)
    given = draw.random((2, size, size, 2), np.float32)
    kernel = draw.normal(size=(3, 3, 2, 4)).astype(np.float32)

    def layer(rows: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(rows, kernel, strides, padding.upper())

    _, outputs, loss = computed("autoencoder(tied=True)", given, kernel, layer)
    inputs, weights = (torch.tensor(a) for a in (outputs.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)))
    around = 1 if padding == "same" else 0  # for a kernel of 3 with an odd size, or with strides of 1
    decoded = torch.nn.functional.conv_transpose2d(inputs, weights, stride=strides, padding=around)
    expected = np.mean((decoded.numpy().transpose(0, 2, 3, 1) - given) ** 2)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("text", ["autoencoder(sparsity=-1)", "autoencoder(noise=gaussian(-1))"])
def test_numbers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="must be a number not below 0, found -1"):
        method(text)
