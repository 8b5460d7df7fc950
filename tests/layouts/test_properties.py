"""Properties of every layout: the way back has the same bytes, shapes are predicted, and misfits are rejected."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.errors import PlanError
from ckpttool.layouts import Layout, parse_layout
from ckpttool.layouts.layout import Shape

DTYPES = [np.float16, np.float32, np.float64, np.int8, ml_dtypes.bfloat16]
SIZES = st.integers(0, 4)
WINDOW = st.lists(SIZES, min_size=1, max_size=3)

Case = tuple[str, list[Shape]]


@st.composite
def one_array(draw: st.DrawFn) -> Case:
    a, b, n, window = draw(SIZES), draw(SIZES), draw(st.integers(1, 4)), draw(WINDOW)
    return draw(
        st.sampled_from(
            [
                ("keep", [(a, *window)]),
                ("embedding", [(a, b)]),
                ("layer_norm", [(a,)]),
                ("dense", [(a, b)]),
                (f"flatten({n})", [(a, n * b)]),
                ("pointwise", [(a, b)]),
                ("pointwise(keras)", [(a, b)]),
                ("pointwise(torch, 1)", [(a, b)]),
                ("pointwise(keras, 3)", [(a, b)]),
                (f"pointwise(torch, 2, {n})", [(a, n * n * b)]),
                (f"pointwise(keras, 2, {n})", [(n * n * b, a)]),
                ("conv", [(a, b, *window)]),
                ("transposed", [(a, b, *window)]),
                (f"depthwise({n})", [(a * n, 1, *window)]),
                (f"grouped({n})", [(a * n, b, *window)]),
            ]
        )
    )


@st.composite
def cells(draw: st.DrawFn) -> Case:
    inputs, units = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    three, four = 3 * units, 4 * units
    return draw(
        st.sampled_from(
            [
                ("lstm(torch, keras)", [(four, inputs), (four, units)]),
                ("lstm(keras, tf1, forget_bias=0)", [(inputs, four), (units, four), (four,)]),
                ("lstm(tf1, torch, forget_bias=0)", [(inputs + units, four), (four,)]),
                ("gru(torch, keras)", [(three, inputs), (three, units), (three,), (three,)]),
                ("gru(torch, keras)", [(three, inputs), (three, units)]),
                ("gru(onnx, torch)", [(1, three, inputs), (1, three, units), (1, 2 * three)]),
                ("lstm(onnx, torch)", [(1, four, inputs), (1, four, units)]),
                ("gru(keras_reset_before, tf1)", [(inputs, three), (units, three), (three,)]),
            ]
        )
    )


@st.composite
def attentions(draw: st.DrawFn) -> Case:
    heads, size, width = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    target = draw(st.sampled_from(["torch_split", "tf1", "tf1_joined", "keras"]))
    inner, biased, output = heads * size, draw(st.booleans()), draw(st.booleans())
    shapes = [(3 * inner, width), (3 * inner,), (width, inner), (width,)]
    return f"attention(torch, {target}, heads={heads})", shapes[: 4 if output else 2][:: 1 if biased else 2]


@given(st.one_of(one_array(), cells(), attentions()), st.sampled_from(DTYPES), st.randoms(use_true_random=False))
def test_the_way_back_gives_the_bytes(case: Case, dtype: type, random: "np.random.RandomState") -> None:
    """Any bytes, including NaNs of every kind and zeros of both signs."""
    text, shapes = case
    layout = parse_layout(text)
    sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape in shapes]
    arrays = [
        np.frombuffer(random.randbytes(size), dtype).reshape(shape) for size, shape in zip(sizes, shapes, strict=True)
    ]
    carried = layout.apply(arrays)
    assert [array.shape for array in carried] == layout.shapes(shapes)
    assert layout.source_shapes([array.shape for array in carried]) == shapes
    back = layout.invert([np.ascontiguousarray(array) for array in carried])
    assert [(array.dtype, array.tobytes()) for array in back] == [(array.dtype, array.tobytes()) for array in arrays]


CELL_FORMS = ("torch", "keras", "tf1", "onnx")
TEXTS = [
    "keep",
    "dense",
    "pointwise",
    "pointwise(keras, 1)",
    "pointwise(torch, 2, 3)",
    "flatten(2)",
    "flatten(2, 1, 2)",
    "conv",
    "grouped(2)",
    "depthwise(2)",
    "transposed",
    "lite_conv",
    "lite_conv(transposed=True)",
    "lite_depthwise(2)",
    "batch_norm(0.1, 0.2)",
    "caffe_batch_norm",
    "caffe_batch_norm(0.1, 0.2)",
    "layer_norm",
    "embedding",
    "weight_norm",
    "weight_norm(conv, dim=1)",
    "weight_norm(dense, dim=-1)",
    "spectral_norm",
    "spectral_norm(transposed, dim=1)",
    "pruned(dense)",
    *(f"lstm({source}, {target})" for source in CELL_FORMS for target in CELL_FORMS),
    *(f"gru({source}, {source})" for source in ("torch", "keras", "tf1_cudnn", "keras_reset_before", "tf1", "onnx")),
    *(f"attention({source}, keras, 2)" for source in ("torch", "torch_split", "tf1", "tf1_joined", "keras")),
    "attention(keras, tf1)",
]


def test_every_layout_is_among_them() -> None:
    assert {text.partition("(")[0] for text in TEXTS} == set(Layout.known())


def test_a_bias_that_is_added_to_zeros_keeps_a_signalling_nan() -> None:
    kernel, bias = np.zeros((2, 4), np.float16), np.array([0x7D01, 0x8000, 0, 0x3C00], np.uint16).view(np.float16)
    layout = parse_layout("lstm(tf1, torch, forget_bias=0)")
    assert layout.invert(layout.apply([kernel, bias]))[1].tobytes() == bias.tobytes()


@given(st.sampled_from(TEXTS), st.lists(st.lists(st.integers(0, 6), max_size=5).map(tuple), max_size=5))
def test_whatever_does_not_fit_is_refused(text: str, shapes: list[Shape]) -> None:
    layout = parse_layout(text)
    for foretell, carry in ((layout.shapes, layout.apply), (layout.source_shapes, layout.invert)):
        arrays = [np.ones(shape, np.float32) for shape in shapes]
        try:
            made = foretell(shapes)
        except PlanError as error:
            assert "\n" not in str(error)
            with pytest.raises(PlanError):
                carry(arrays)
        else:
            assert refused_by_value(text) or [array.shape for array in carry(arrays)] == made


def refused_by_value(text: str) -> bool:
    """Ones are between the groups too, so the way back rejects it."""
    return text.startswith("grouped")


@given(st.sampled_from(TEXTS))
def test_a_layout_s_text_is_read_again(text: str) -> None:
    layout = parse_layout(text)
    assert parse_layout(str(layout)) == layout


@pytest.mark.parametrize("text", ["pointwise(keras)", "pointwise(torch)", "dense"])
def test_a_layer_without_inputs_and_outputs_goes_there_and_back(text: str) -> None:
    layout, empty = parse_layout(text), np.zeros((0, 0), np.float16)
    assert [array.shape for array in layout.invert(layout.apply([empty]))] == [(0, 0)]
