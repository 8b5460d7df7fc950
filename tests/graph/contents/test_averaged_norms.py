"""Batch normalisation with averages, in the forms that TensorFlow programs have used."""

from collections.abc import Callable
from typing import Any

import pytest

from ckpttool.graph.contents.averaged_norms import averaged_norms, lowest

Build = Callable[[Any, Any, Any, Any, Any], Any]


def by_tensorflow(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return net.tf.nn.batch_normalization(x, mean, variance, None, gamma, 1e-3)


def bare(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return net.tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


def centred_first(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return gamma * (x - mean) / net.tf.sqrt(variance + 1e-3)


def scaled_first(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return (x - mean) * (gamma * (variance + 1e-3) ** -0.5) + 1.0


def of_keras(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return (x - net.tf.reshape(mean, [1, 4])) / net.tf.maximum(net.tf.sqrt(net.tf.reshape(variance, [1, 4])), 1e-7)


def fused(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    images = net.tf.reshape(x, [-1, 1, 1, 4])
    found = net.v1.nn.fused_batch_norm(images, gamma, gamma, mean, variance, is_training=False)[0]
    return net.tf.reshape(found, [-1, 4])


def channels_first(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    images = net.tf.reshape(x, [-1, 4, 1, 1])
    found = net.v1.nn.fused_batch_norm(images, gamma, gamma, mean, variance, is_training=False, data_format="NCHW")[0]
    return net.tf.reshape(found, [-1, 4])


def of_a_row(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    found, around = net.tf.nn.moments(x, [1], keepdims=True)
    return net.tf.nn.batch_normalization(x, found, around, mean, variance, 1e-3)


def of_a_weight(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return x * net.tf.math.rsqrt(net.tf.reduce_sum(gamma * gamma)) - mean


def trained(net: Any, x: Any, mean: Any, variance: Any, gamma: Any) -> Any:
    return (x - mean) / net.tf.sqrt(gamma + 1e-3)


def built(net: Any, build: Build) -> Any:
    """Two layers of 4 units, each followed by the normalisation, and logits."""
    with net.building():
        layer, labels, _ = net.inputs()
        for number in (1, 2):
            layer = net.dense(layer, 4, f"hidden{number}", relu=False)
            with net.v1.variable_scope(f"norm{number}"):
                mean, variance = (net.variable(name, [4], trainable=False) for name in ("mean", "variance"))
                layer = build(net, layer, mean, variance, net.variable("gamma", [4], value=1.5))
        net.classify(layer, labels, net.v1.train.AdamOptimizer())
    return net.export()


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
@pytest.mark.parametrize(
    "build",
    [by_tensorflow, bare, centred_first, scaled_first, of_keras, fused, channels_first],
    ids=lambda f: f.__name__,
)
def test_what_is_normalised_and_by_what(new_network: Any, build: Build, resource: bool) -> None:
    graph = built(new_network(resource), build)
    found = averaged_norms(graph, ["loss/loss:0"])
    first = found[0]
    assert [norm.name for norm in found] == ["norm1", "norm2"]
    assert first.averages == ("norm1/mean", "norm1/variance")
    assert first.input.op in ("hidden1/BiasAdd", "norm1/Reshape")
    assert "norm1/mean" in graph.ancestors(first.mean.op)
    assert "norm1/variance" in graph.ancestors(first.variance.op)
    assert first.channels == (1 if build is channels_first else -1 if build is fused else None)
    assert list(lowest(graph, found)) == [first]
    assert list(lowest(graph, found, lambda norm: norm is not first)) == [found[1]]


@pytest.mark.parametrize("build", [of_a_row, of_a_weight, trained], ids=lambda f: f.__name__)
def test_what_else_is_divided_by_a_root_is_none(new_network: Any, build: Build) -> None:
    assert averaged_norms(built(new_network(), build), ["loss/loss:0"]) == []
