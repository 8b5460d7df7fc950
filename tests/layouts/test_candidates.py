"""Suggestions: the layouts that fit two shapes and the op that reads the variable, the likeliest first."""

import pytest

from ckpttool.layouts.candidates import candidates
from ckpttool.layouts.layout import Shape


@pytest.mark.parametrize(
    ("sources", "target", "op", "expected"),
    [
        ([(300, 784)], (784, 300), "MatMul", ["dense"]),
        ([(784, 300)], (784, 300), "MatMul", ["keep"]),
        ([(300, 300)], (300, 300), "MatMul", ["dense", "keep"]),
        ([(10, 784)], (784, 300), "MatMul", []),
        ([(32, 3, 5, 5)], (5, 5, 3, 32), "Conv2D", ["conv"]),
        ([(3, 3, 3, 3)], (3, 3, 3, 3), "Conv2D", ["conv", "keep"]),
        ([(32, 2, 3, 3)], (3, 3, 8, 32), "Conv2D", ["grouped(groups=4)"]),
        ([(8, 4, 3)], (3, 4, 8), "Conv2D", ["conv"]),
        ([(8, 1, 3, 3)], (3, 3, 8, 1), "DepthwiseConv2dNative", ["depthwise"]),
        ([(8, 1, 3, 3)], (3, 3, 4, 2), "DepthwiseConv2dNative", ["depthwise(multiplier=2)"]),
        ([(10, 8)], (1, 1, 8, 10), "Conv2D", ["pointwise"]),
        ([(8, 10)], (1, 8, 10), "MatMul", ["pointwise(form=keras, dimensions=1)"]),
        ([(8, 8)], (1, 1, 8, 8), None, ["pointwise", "pointwise(form=keras)"]),
        ([(10, 8)], (1, 2, 8, 10), None, []),
        ([(6, 100)], (5, 5, 4, 6), "Conv2D", ["pointwise(window=5)"]),
        ([(100, 6)], (5, 5, 4, 6), "Conv2D", ["pointwise(form=keras, window=5)"]),
        ([(16, 8, 3, 3)], (3, 3, 8, 16), "Conv2DBackpropInput", ["transposed"]),
        ([(64,)], (64,), "FusedBatchNormV3", ["keep"]),
        ([(1000, 64)], (1000, 64), "ResourceGather", ["keep"]),
        ([(64, 64)], (64, 64), "GatherV2", ["keep"]),
        ([(64,)], (64,), "BiasAdd", ["keep"]),
        ([(32, 3, 5, 5)], (5, 5, 3, 32), None, ["conv", "transposed"]),
        ([(64,)], (64,), "Mul", ["keep"]),
        ([()], (), None, ["keep"]),
    ],
)
def test_one_array(sources: list[Shape], target: Shape, op: str | None, expected: list[str]) -> None:
    assert [str(layout) for layout in candidates(sources, target, op)] == expected


@pytest.mark.parametrize(
    ("sources", "target", "op", "expected"),
    [
        ([(20, 3), (20, 5), (20,), (20,)], (8, 20), "MatMul", "lstm(source=torch, target=tf1)"),
        ([(20, 3), (20, 5), (20,), (20,)], (20,), "BiasAdd", "lstm(source=torch, target=tf1)"),
        ([(15, 3), (15, 5), (15,), (15,)], (2, 15), None, "gru(source=torch, target=keras)"),
        ([(24, 8), (24,)], (8, 8), "MatMul", "attention(source=torch, target=tf1)"),
        ([(24, 8), (24,)], (8, 4, 2), "Einsum", "attention(source=torch, target=keras, heads=4)"),
        ([(8, 4, 2), (4, 2)] * 3, (8, 8), "MatMul", "attention(source=keras, target=tf1)"),
        ([(8, 4, 2)] * 3, (8, 24), "MatMul", "attention(source=keras, target=tf1_joined)"),
    ],
)
def test_several_arrays(sources: list[Shape], target: Shape, op: str | None, expected: str) -> None:
    assert str(candidates(sources, target, op)[0]) == expected


def test_a_flattened_image_comes_first_where_its_channels_are_known() -> None:
    found = candidates([(128, 3136)], (3136, 128), "MatMul", channels=64)
    assert [str(layout) for layout in found] == ["flatten(channels=64)", "dense"]
    assert [str(layout) for layout in candidates([(128, 3135)], (3135, 128), "MatMul", channels=64)] == ["dense"]
