"""Kernels in TensorFlow Lite: the shapes documented in its schema, there and back byte for byte."""

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.layouts import parse_layout


@pytest.mark.parametrize(
    ("text", "shape", "made"),
    [
        ("lite_conv", (6, 3, 2, 4), (3, 2, 4, 6)),
        ("lite_conv", (6, 5, 3, 2, 4), (5, 3, 2, 4, 6)),
        ("lite_conv(transposed=True)", (6, 3, 2, 4), (3, 2, 6, 4)),
        ("lite_depthwise", (1, 3, 2, 8), (3, 2, 8, 1)),
        ("lite_depthwise(multiplier=2)", (1, 3, 2, 8), (3, 2, 4, 2)),
    ],
)
def test_there_and_back(text: str, shape: tuple[int, ...], made: tuple[int, ...]) -> None:
    layout, array = parse_layout(text), np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    (turned,) = layout.apply([array])
    assert (turned.shape, layout.shapes([shape]), layout.source_shapes([made])) == (made, [made], [shape])
    (back,) = layout.invert([np.ascontiguousarray(turned)])
    assert back.tobytes() == array.tobytes()


def test_outputs_of_a_channel_follow_one_another() -> None:
    array = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)
    assert parse_layout("lite_depthwise(multiplier=2)").apply([array])[0][0, 0].tolist() == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
    ]


@pytest.mark.parametrize(
    ("text", "shape"),
    [("lite_conv", (6, 4)), ("lite_depthwise", (2, 3, 3, 8)), ("lite_depthwise(multiplier=3)", (1, 3, 3, 8))],
)
def test_other_sizes_are_refused(text: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="expected"):
        parse_layout(text).shapes([shape])
