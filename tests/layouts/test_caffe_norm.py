"""Caffe's BatchNorm and Scale: TensorFlow's batch normalisation has the outputs of Caffe's formula."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts import parse_layout

Random = Callable[..., Array]


def caffe(x: Array, mean: Array, variance: Array, factor: Array, gamma: Any = 1.0, beta: Any = 0.0) -> Array:
    """The computation of batch_norm_layer.cpp and scale_layer.cpp with `use_global_stats`, channels last here."""
    scale = np.float32(0 if factor[0] == 0 else 1 / factor[0])
    return (x - mean * scale) / np.sqrt(variance * scale + np.float32(1e-5)) * gamma + beta


def tf1(x: Array, epsilon: float, order: str) -> Callable[..., Any]:
    """TensorFlow's batch normalisation with arrays in this order, and defaults for missing ones."""
    import tensorflow as tf

    def run(*arrays: Array) -> Any:
        given = {"gamma": np.ones(4, np.float32), "beta": np.zeros(4, np.float32)}
        given |= dict(zip(order.split(), arrays, strict=True))
        parts = [given[name] for name in ("gamma", "beta", "mean", "variance")]
        return tf.compat.v1.nn.fused_batch_norm(x, *parts, epsilon, is_training=False)[0]

    return run


@pytest.fixture
def blobs(random: Random) -> list[Array]:
    """Sums over about a thousand steps, as after training, then gamma and beta."""
    factor = np.array([999.982], np.float32)
    return [random(4) * factor, (np.abs(random(4)) + 0.1) * factor, factor, random(4), random(4)]


@pytest.mark.parametrize(
    ("count", "order"), [(3, "mean variance"), (4, "mean variance gamma"), (5, "mean variance gamma beta")]
)
@pytest.mark.parametrize(("text", "epsilon"), [("caffe_batch_norm", 1e-5), ("caffe_batch_norm(1e-5, 1e-3)", 1e-3)])
def test_the_layer_alone_and_with_a_scale(
    text: str, epsilon: float, count: int, order: str, blobs: list[Array], proved: Any, random: Random
) -> None:
    x = random(2, 5, 3, 4)
    proved(text, blobs[:count], caffe(x, *blobs[:count]), tf1(x, epsilon, order), exact=False)


def test_a_factor_of_zero_means_zeros(blobs: list[Array], proved: Any, random: Random) -> None:
    """For a layer that was never trained, whatever the sums are."""
    x, blobs[2] = random(2, 5, 3, 4), np.zeros(1, np.float32)
    carried = proved("caffe_batch_norm", blobs, caffe(x, *blobs), tf1(x, 1e-5, "mean variance gamma beta"), exact=False)
    assert not carried[0].any()
    assert not carried[1].any()


def test_the_way_back_has_the_factor_one(random: Random) -> None:
    parts = [random(4), np.abs(random(4)), random(4), random(4)]
    mean, variance, factor, gamma, beta = parse_layout("caffe_batch_norm").invert(parts)
    assert (factor.tolist(), factor.dtype) == ([1.0], np.float32)
    assert [array.tobytes() for array in (mean, variance, gamma, beta)] == [array.tobytes() for array in parts]
    again = parse_layout("caffe_batch_norm").apply([mean, variance, factor, gamma, beta])
    assert [array.tobytes() for array in again] == [array.tobytes() for array in parts]


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([(3,), (3,)], "[3] [3]"),
        ([(3,), (3,), (3,)], "[3] [3] [3]"),
        ([(3,), (2,), (1,)], "[3] [2] [1]"),
        ([(20, 3), (20,), (20, 5)], "[20, 3] [20] [20, 5]"),
    ],
)
def test_blobs_of_another_layer(shapes: list[tuple[int, ...]], found: str) -> None:
    with pytest.raises(PlanError) as error:
        parse_layout("caffe_batch_norm").shapes(shapes)
    expected = "mean [channels], variance [channels], factor [1], and none or gamma or gamma, beta"
    assert str(error.value) == f"caffe_batch_norm: found {found}, expected {expected}"


def test_epsilons_that_cannot_be() -> None:
    with pytest.raises(PlanError, match="epsilon must be a number not below 0"):
        parse_layout("caffe_batch_norm(-1e-5)")
