"""Configs of layers for TensorFlow.js: what it computes as Keras does is kept, what it does not have is refused."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.gate import Place
from ckpttool.formats.tfjs.layers import layer_config

PLACE = Place(Path("net.keras"))


def made(kind: str, *, build: Any = None, **options: Any) -> dict[str, Any]:
    return layer_config({"class_name": kind, "config": {"name": "a", **options}, "build_config": build}, PLACE)


def test_options_are_kept_under_their_names_there_and_those_without_an_effect_are_not():
    assert made("Dense", units=3, use_bias=True, kernel_initializer={}, seed=1, quantization_config=None) == {
        "name": "a", "units": 3, "use_bias": True,
    }  # fmt: skip
    assert made("LeakyReLU", negative_slope=0.5) == {"name": "a", "alpha": 0.5}
    assert made("InputLayer", batch_shape=[None, 3]) == {"name": "a", "batch_input_shape": [None, 3]}
    assert made("BatchNormalization", axis=-1, renorm=False, renorm_momentum=0.9) == {
        "name": "a",
        "axis": -1,
        "renorm": False,
    }


@pytest.mark.parametrize("value", [None, False])
def test_an_option_that_it_does_not_know_may_be_unset(value):
    assert made("Dense", units=3, lora_rank=value) == {"name": "a", "units": 3}
    with pytest.raises(FormatError, match=r"a Dense with lora_rank = 4, which TensorFlow\.js does not have"):
        made("Dense", units=3, lora_rank=4)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("Conv2D", {"groups": 2}, "groups = 2"),
        ("Conv2D", {"padding": "causal"}, "padding = causal"),
        ("Reshape", {"target_shape": [-1, 2]}, r"target_shape = \[-1, 2\]"),
        ("ReLU", {"threshold": 0.5}, "threshold = 0.5"),
        ("LSTM", {"stateful": True}, "stateful = True"),
    ],
)
def test_a_value_that_it_computes_otherwise_is_refused(kind, options, says):
    with pytest.raises(FormatError, match=rf"a {kind} with {says}, which TensorFlow\.js does not have"):
        made(kind, **options)


def test_values_that_it_has_are_kept():
    assert made("Conv2D", groups=1, padding="same")["groups"] == 1
    assert made("Reshape", target_shape=[4, 2])["target_shape"] == [4, 2]
    with pytest.raises(FormatError, match=r"is a Lambda, which TensorFlow\.js does not have, or computes otherwise"):
        made("Lambda")


@pytest.mark.parametrize(
    ("axis", "build", "kept"),
    [
        (3, {"input_shape": [None, 8, 9, 4]}, -1),
        (1, {"input_shape": [None, 4]}, -1),
        (3, None, 3),
        (3, {"input_shape": None}, 3),
        (3, [None, 8, 9, 4], 3),
    ],
)
def test_the_last_axis_is_the_last_by_any_number(axis, build, kept):
    assert made("BatchNormalization", axis=axis, build=build)["axis"] == kept


def test_an_axis_that_is_not_the_last_is_refused():
    with pytest.raises(FormatError, match="with axis = 1"):
        made("BatchNormalization", axis=1, build={"input_shape": [None, 8, 9, 4]})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float32", "float32"), ("int32", "int32"), ("bool", "bool"), (None, "float32"), ("mixed_bfloat16", "float32"),
        ({"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}, "float32"), ({"config": None}, "float32"),
    ],
)  # fmt: skip
def test_a_mixed_policy_is_the_dtype_of_its_variables(given, kept):
    assert made("Dense", dtype=given)["dtype"] == kept


@pytest.mark.parametrize("given", ["float64", "float16", {"config": {"name": "bfloat16"}}], ids=str)
def test_a_dtype_that_it_does_not_compute_in_is_refused(given):
    with pytest.raises(FormatError, match=r"computes in (float64|float16|bfloat16), which TensorFlow\.js does not"):
        made("Dense", dtype=given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("relu", "relu"), ("silu", "swish"), ({"class_name": "mish", "config": {}}, "mish"),
        ({"class_name": "Sequential", "config": {"name": "hard_sigmoid"}}, "hard_sigmoid"),
    ],
)  # fmt: skip
def test_activations_have_other_names_there(given, kept):
    assert made("Dense", activation=given)["activation"] == kept
    assert made("LSTM", recurrent_activation=given)["recurrent_activation"] == kept


@pytest.mark.parametrize("given", ["hard_sigmoid", "gelu", {"class_name": "Sequential", "config": None}], ids=str)
def test_an_activation_that_it_does_not_have_is_refused(given):
    with pytest.raises(FormatError, match=r"has the activation .*, expected one that TensorFlow\.js has too: elu, "):
        made("Dense", activation=given)


def test_penalties_are_of_both_norms_and_none_is_left_out():
    kept = made(
        "Dense",
        kernel_regularizer={"class_name": "L2", "config": {"l2": 0.5, "dtype": "float32"}},
        bias_regularizer={"class_name": "L1", "config": {"l1": 0.25}},
        kernel_constraint={"class_name": "MaxNorm", "config": {"max_value": 2}},
        bias_constraint=None,
    )
    assert kept == {
        "name": "a",
        "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}},
        "bias_regularizer": {"class_name": "L1L2", "config": {"l1": 0.25, "l2": 0.0}},
        "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2}},
    }


def recurrent(kind: str = "LSTM", **options: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "f", "units": 3, "go_backwards": False, **options}}


def test_both_directions_are_one_layer_and_its_copy():
    back = recurrent(name="b", go_backwards=True, kernel_initializer="zeros", dtype="float16")
    for other in (None, back):
        assert made("Bidirectional", layer=recurrent(), backward_layer=other)["layer"] == recurrent()
    for other in (recurrent("GRU", go_backwards=True), recurrent(go_backwards=True, units=4)):
        with pytest.raises(FormatError, match="has a backward_layer of its own"):
            made("Bidirectional", layer=recurrent(), backward_layer=other)
