"""Normalisations: PyTorch's outputs from Keras and from TensorFlow's ops, with the same epsilon and with another."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Random = Callable[..., Array]


@pytest.fixture
def trained(random: Random) -> Callable[[float], Any]:
    """A PyTorch batch normalisation with statistics, one of whose variances is small."""
    import torch

    def make(smallest: float) -> Any:
        layer = torch.nn.BatchNorm2d(4).eval()
        variance = np.array([smallest, 0.3, 1.7, 40.0], np.float32)
        values = {"weight": random(4), "bias": random(4), "running_mean": random(4), "running_var": variance}
        layer.load_state_dict({name: torch.tensor(value) for name, value in values.items()}, strict=False)
        return layer

    return make


def parts_of(layer: Any) -> list[Array]:
    """Gamma, beta, mean and variance."""
    return [layer.state_dict()[name].numpy() for name in ("weight", "bias", "running_mean", "running_var")]


def target_layer(target: str, x: Array, epsilon: float) -> Callable[..., Any]:
    """The target's normalisation: a function of gamma, beta, mean and variance, for images with channels last."""
    import keras
    import tensorflow as tf

    def in_keras(*parts: Array) -> Any:
        layer = keras.layers.BatchNormalization(epsilon=epsilon)
        layer.build(x.shape)
        layer.set_weights(parts)
        return layer(x, training=False)

    def in_tf1(gamma: Array, beta: Array, mean: Array, variance: Array) -> Any:
        return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]

    return {"keras": in_keras, "tf1": in_tf1}[target]


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_batch_norm_with_another_epsilon(target: str, trained: Any, proved: Any, random: Random) -> None:
    import torch

    source, x = trained(0.01), random(2, 4, 5, 3)
    gamma, beta, mean, variance = parts_of(source)
    run = target_layer(target, x.transpose(0, 2, 3, 1), 1e-3)
    expected = source(torch.tensor(x)).detach().numpy().transpose(0, 2, 3, 1)
    proved("batch_norm(1e-5, 1e-3)", [variance], expected, lambda variance: run(gamma, beta, mean, variance))


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_batch_norm_whose_variance_is_too_small(target: str, trained: Any, proved: Any, random: Random) -> None:
    import torch

    source, x = trained(1e-4), random(2, 4, 5, 3)
    gamma, beta, mean, variance = parts_of(source)
    run = target_layer(target, x.transpose(0, 2, 3, 1), 1e-3)
    expected = source(torch.tensor(x)).detach().numpy().transpose(0, 2, 3, 1)
    with pytest.raises(PlanError, match=r"a variance of 0\.0001 would be negative; gamma and variance together"):
        parse_layout("batch_norm(1e-5, 1e-3)").apply([variance])
    [_, kept] = proved(
        "batch_norm(1e-5, 1e-3)",
        [gamma, variance],
        expected,
        lambda gamma, variance: run(gamma, beta, mean, variance),
        exact=False,
    )
    assert kept.tobytes() == variance.tobytes()


def test_torch_batch_norm_with_the_same_epsilon(trained: Any, proved: Any, random: Random) -> None:
    import torch

    source, x = trained(1e-4), random(2, 4, 5, 3)
    gamma, beta, mean, variance = parts_of(source)
    run = target_layer("tf1", x.transpose(0, 2, 3, 1), 1e-5)
    expected = source(torch.tensor(x)).detach().numpy().transpose(0, 2, 3, 1)
    for text in ("keep", "batch_norm(1e-5, 1e-5)"):
        proved(text, [variance], expected, lambda variance: run(gamma, beta, mean, variance))


@pytest.mark.parametrize("target", ["keras", "tf1"])
def test_torch_layer_norm(target: str, proved: Any, random: Random) -> None:
    import keras
    import tensorflow as tf
    import torch

    source, x = torch.nn.LayerNorm(6), random(3, 6)
    with torch.no_grad():
        source.weight.copy_(torch.tensor(random(6)))
        source.bias.copy_(torch.tensor(random(6)))

    def in_keras(gamma: Array) -> Any:
        layer = keras.layers.LayerNormalization(epsilon=1e-5)
        layer.build(x.shape)
        layer.set_weights([gamma, source.bias.detach().numpy()])
        return layer(x)

    def in_tf1(gamma: Array) -> Any:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, source.bias.detach().numpy(), gamma, 1e-5)

    run = {"keras": in_keras, "tf1": in_tf1}[target]
    proved("layer_norm", [source.weight.detach().numpy()], source(torch.tensor(x)).detach(), run)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_larger_epsilon_goes_back_to_the_same_bytes(dtype: str, random: Random) -> None:
    variance = (np.abs(random(100)) + 0.01).astype(dtype)
    layout = parse_layout("batch_norm(1e-5, 1e-3)")
    assert layout.invert(layout.apply([variance]))[0].tobytes() == variance.tobytes()


@pytest.mark.parametrize(
    ("shapes", "found"), [([], "nothing"), ([(2, 2)], "[2, 2]"), ([(3,), (2,)], "[3] [2]"), ([(3,)] * 3, "[3] [3] [3]")]
)
def test_arrays_that_do_not_fit(shapes: list[tuple[int, ...]], found: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout("batch_norm(0.1, 0.2)").shapes(shapes)
    expected = "a variance [channels], or gamma and variance of one shape"
    assert str(error.value) == f"batch_norm(epsilon=0.1, target_epsilon=0.2): found {found}, expected {expected}"


def test_epsilons_that_cannot_be() -> None:
    with pytest.raises(PlanError, match="epsilon must be a number not below 0"):
        parse_layout("batch_norm(-1e-5, 1e-3)")
    with pytest.raises(PlanError, match="batch_norm needs target_epsilon"):
        parse_layout("batch_norm(1e-5)")
    with pytest.raises(PlanError, match="a variance of 0 with epsilon 0 has no root"):
        parse_layout("batch_norm(0, 1e-3)").apply([np.ones(2), np.array([0.0, 1.0])])
