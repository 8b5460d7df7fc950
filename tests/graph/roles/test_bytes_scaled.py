"""Inputs that a graph scales itself: detected by the first arithmetic ops on their values."""

from collections.abc import Callable
from typing import Any

import pytest

from ckpttool.graph.roles.bytes_scaled import bytes_scaled


def _found(new_network: Any, first: Callable[[Any, Any], Any]) -> str | None:
    with new_network().building() as net:
        X, _, _ = net.inputs()
        net.dense(first(net.tf, X), 3, "outputs")
    return bytes_scaled(net.export(), X.op.name)


@pytest.mark.parametrize(
    "first",
    [
        lambda tf, X: tf.multiply(X, 1 / 255.0, name="own"),
        lambda tf, X: tf.multiply(1 / 127.5, tf.reshape(X, [-1, 8]), name="own") - 1.0,
        lambda tf, X: tf.divide(tf.identity(X), 255.0, name="own"),
        lambda tf, X: tf.subtract(X, 127.5, name="own") / 128.0,
    ],
)
def test_a_small_factor_or_a_large_mean_is_of_bytes(new_network: Any, first: Any) -> None:
    assert _found(new_network, first) == "own"


@pytest.mark.parametrize(
    "first",
    [
        lambda tf, X: X,
        lambda tf, X: X * 2.0 - 1.0,
        lambda tf, X: X * 0.5,
        lambda tf, X: 255.0 / X,
        lambda tf, X: tf.nn.relu(X) * 0.001,
    ],
)
def test_other_arithmetic_is_not(new_network: Any, first: Any) -> None:
    assert _found(new_network, first) is None
