"""SPEC: layers in Python's call syntax, and its errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.runtime.activations import INITIALIZERS, Activation, LeakyRelu, Selu
from ckpttool.runtime.layers import Dense
from ckpttool.runtime.spec import Layer, LayerSpec, parse


def dense(
    name: str, units: int, activation: str | None = None, init: str = "glorot_uniform", bias: bool = True
) -> LayerSpec:
    return LayerSpec(name, Dense(units, Activation.known()[activation]() if activation else None, init, bias))


def test_the_designs_example() -> None:
    expected = [dense("hidden4", 20, "relu"), dense("outputs", 10)]
    assert parse("hidden4 = dense(20, relu); outputs = dense(10)") == expected
    assert parse("hidden4 = dense(20, relu)\n\n  outputs = dense(10)  # logits\n") == expected
    assert parse("hidden4 = dense(\n  20,\n  activation='relu',\n)\noutputs = dense(units=10)") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h = dense(7, elu, he)", dense("h", 7, "elu", "he")),
        ("h = dense(7, tanh, 'xavier', False)", dense("h", 7, "tanh", "xavier", False)),
        ("h = dense(bias=False, init=he_uniform, units=7)", dense("h", 7, None, "he_uniform", False)),
        ("h = dense(7, None)", dense("h", 7)),
        ("h = dense(7, linear)", dense("h", 7, "linear")),
        ("h = dense(7, relu())", dense("h", 7, "relu")),
        ("h = dense(7, leaky_relu)", dense("h", 7, "leaky_relu")),
        ("h = dense(2147483647)", dense("h", 2**31 - 1)),
    ],
)
def test_arguments_by_place_by_name_and_by_default(text: str, expected: LayerSpec) -> None:
    assert parse(text) == [expected]


@pytest.mark.parametrize("given_alpha", ["leaky_relu(0.2)", "leaky_relu(alpha=0.2)", "leaky_relu(alpha=2e-1)"])
def test_an_activation_takes_its_parameter(given_alpha: str) -> None:
    assert parse(f"dense(3, {given_alpha})") == [LayerSpec("dense", Dense(3, LeakyRelu(0.2)))]
    assert parse("dense(3, leaky_relu(-1))") == [LayerSpec("dense", Dense(3, LeakyRelu(-1.0)))]


def test_short_names_of_initialisers_are_those_of_tensorflow() -> None:
    assert [parse(f"dense(1, init={name})")[0] for name in INITIALIZERS] == [
        dense("dense", 1, init=name) for name in INITIALIZERS
    ]
    full = {f"{name}_{kind}" for name in ("glorot", "he", "lecun") for kind in ("uniform", "normal")}
    assert {
        short: next(name for name in sorted(full) if INITIALIZERS[name] == INITIALIZERS[short])
        for short in INITIALIZERS
        if short not in full
    } == {
        "glorot": "glorot_uniform",
        "xavier": "glorot_uniform",
        "xavier_uniform": "glorot_uniform",
        "xavier_normal": "glorot_normal",
        "he": "he_normal",
        "lecun": "lecun_normal",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv2d(8)", {"filters": 8, "kernel": (3, 3), "strides": (1, 1), "padding": "same", "bias": True}),
        ("conv2d(8, (5, 3), relu, 2, valid)", {"kernel": (5, 3), "strides": (2, 2), "padding": "valid"}),
        ("dense(8, l1=0.1, l2=1e-3, max_norm=1)", {"l1": 0.1, "l2": 1e-3, "max_norm": 1.0}),
        ("max_pool()", {"size": (2, 2), "strides": None, "padding": "valid"}),
        ("avg_pool(3, 2, same)", {"size": (3, 3), "strides": (2, 2), "padding": "same"}),
        ("batch_norm(0.9)", {"momentum": 0.9, "epsilon": 1e-3, "activation": None}),
        ("dropout(0.5)", {"rate": 0.5}),
        ("activation(selu)", {"function": Selu()}),
        ("flatten()", {}),
    ],
)
def test_every_kind_has_its_own_parameters(text: str, expected: dict[str, object]) -> None:
    layer = parse(text)[0].layer
    assert {name: getattr(layer, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("conv2d(8, (5, 3, 1))", "expected a number"),
        ("conv2d(8, 0)", "at '0': conv2d: kernel must be a whole number from 1"),
        ("dropout(1)", "at '1': dropout: rate must be at least 0 and below 1, found 1"),
        ("dropout()", "dropout needs rate"),
        ("dense(8, l2=-1)", "at '-1': dense: l2 must be a number not below 0, found -1"),
        ("flatten(3)", "flatten takes at most 0 arguments, found 1"),
    ],
)
def test_what_a_kind_does_not_take_is_told(text: str, problem: str) -> None:
    with pytest.raises(PlanError, match=re.escape(problem)):
        parse(text)


def test_layers_without_names_are_numbered_around_those_with() -> None:
    def names(text: str) -> list[str]:
        return [layer.name for layer in parse(text)]

    assert names("dense(3); dense(2); dense(1)") == ["dense", "dense_1", "dense_2"]
    assert names("dense(3); dense_1 = dense(2); dense(1)") == ["dense", "dense_1", "dense_2"]
    assert names("dense(3); dense = dense(2)") == ["dense_1", "dense"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "h = dens(20)",
            "`layers`, line 1, column 5, at 'dens(20)': no layer dens; "
            f"known: {', '.join(Layer.known())}; nearest: dense",
        ),
        ("h = conv(20)", f"at 'conv(20)': no layer conv; known: {', '.join(Layer.known())}; nearest: conv2d"),
        (
            "h = dense(20, rleu)",
            "`layers`, line 1, column 15, at 'rleu': no activation rleu; "
            f"known: {', '.join(Activation.known())}; nearest: relu, rrelu, elu",
        ),
        (
            "h = dense(20, Relu(1))",
            f"at 'Relu(1)': no activation Relu; known: {', '.join(Activation.known())}; nearest: elu, selu, relu",
        ),
        (
            "h = dense(20, unit=3)",
            "`layers`, line 1, column 15, at 'unit=3': dense has no argument 'unit'; nearest: units",
        ),
        ("h = dense(20, **x)", "at '**x': dense has no argument '**'; there are units, activation, init, bias"),
        ("conv2d(8, padding=full)", "at 'full': no padding full; there are same, valid"),
        ("h = dense(20, init=hee)", "at 'hee': no init hee; nearest: he"),
        ("h = dense(2, leaky_relu(beta=1))", "at 'beta=1': leaky_relu has no argument 'beta'; there are alpha"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(text: str, expected: str) -> None:
    with pytest.raises(UnknownName, match=re.escape(expected)):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "`layers`: expected a layer such as hidden4 = dense(20, relu)"),
        ("# nothing", "`layers`: expected a layer such as"),
        ("h = dense()", "line 1, column 5, at 'dense()': dense needs units"),
        ("h = dense(relu)", "at 'relu': expected a number"),
        ("h = dense(0)", "at '0': dense: units must be a whole number from 1 to 2147483647, found 0"),
        ("h = dense(-5)", "at '-5': dense: units must be a whole number from 1"),
        ("h = dense(2.0)", "at '2.0': expected a whole number"),
        ("h = dense(True)", "at 'True': expected a finite number"),
        ("h = dense('20')", "at \"'20'\": expected a number"),
        ("h = dense(2147483648)", "units must be a whole number from 1"),
        ("h = dense(2j)", "expected a number"),
        ("h = dense(2, leaky_relu(1e999))", "at '1e999': expected a finite number"),
        (f"h = dense(2, leaky_relu({'9' * 400}))", "expected a finite number"),
        ("h = dense(2, relu(1))", "relu takes at most 0 arguments, found 1"),
        ("h = dense(2, 0.5)", "at '0.5': expected a name such as relu"),
        ("h = dense(2, relu, he, True, 5, 6, 7, 8)", "dense takes at most 7 arguments, found 8"),
        ("h = dense(2, units=3)", "at 'units=3': dense is given units twice"),
        ("h = dense(2, bias=1)", "at '1': expected True or False"),
        ("h = dense(2, init=he())", "at 'he()': expected a name"),
        ("h = dense", "at 'dense': expected a call such as dense(20, relu)"),
        ("h = tf.dense(20)", "at 'tf.dense(20)': expected a call"),
        ("a = dense(1)\nb = dense(2); a = dense(3)", "line 2, column 15, at 'a': two layers are named 'a'"),
        ("_a = dense(1)", "at '_a': no TensorFlow scope"),
        ("größe = dense(1)", "at 'größe': no TensorFlow scope"),
        ("a = b = dense(1)", "at 'a = b = dense(1)': expected a layer"),
        ("a, b = dense(1)", "expected a layer"),
        ("a.b = dense(1)", "expected a layer"),
        ("a: int = dense(1)", "expected a layer"),
        ("a += dense(1)", "expected a layer"),
        ("dense(20), dense(10)", "expected a call"),
        ("import os", "at 'import os': expected a layer"),
        ("def f(): pass", "expected a layer"),
        ("h = dense(20", "line 1, column 10, at 'h = dense(20': '(' was never closed"),
        ("h = dense(20))", "line 1, column 14"),
        ("dnn/h = dense(20)", "line 1, column 1"),
        ("h dense(20)", "invalid syntax"),
        ("h = dense(2)\x00", "null bytes"),
    ],
)
def test_what_is_no_layer_is_told_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(PlanError, match=re.escape(expected)) as raised:
        parse(text)
    assert "\n" not in str(raised.value)


def test_places_count_characters_of_the_text_as_it_was_given() -> None:
    with pytest.raises(PlanError, match="line 3, column 14, at '0'"):
        parse("a = dense(1)\n\n   b = dense(0)")
    with pytest.raises(UnknownName, match="line 1, column 20, at 'eu'"):
        parse("é = dense(1, init= eu)")


@pytest.mark.parametrize(
    "hostile",
    [
        "h = dense(__import__('os').getpid())",
        "h = dense((lambda: 3)())",
        "h = dense(3 + 4)",
        "h = dense(2 ** 99999999)",
        "h = dense(*[3])",
        "h = dense([3])",
        "h = dense(f'{3}')",
        "h = dense(3 if True else 4)",
        "h = dense(x := 3)",
        "h = dense(3)(4)",
        "h = dense(--3)",
        "h = dense(3, b'relu')",
        "h = dense(3, '\\d')",
        "h = dense(3, " + "(" * 300 + ")" * 300 + ")",
        "h = dense(" + "-" * 20_000 + "3)",
        "h = dense(" + "9" * 5_000 + ")",
        "h = dense(3)" + ";" * 3,
        "x" * 200_000,
    ],
)
def test_nothing_is_evaluated(hostile: str) -> None:
    with pytest.raises(CkptError) as raised:
        parse(hostile)
    assert len(str(raised.value)) < 400


@given(st.text(max_size=60) | st.text("hdense0129=(),;relu\n '\"#\\-*", max_size=60))
def test_any_text_is_layers_or_a_clear_error(text: str) -> None:
    try:
        layers = parse(text)
    except (PlanError, UnknownName) as error:
        assert "\n" not in str(error)
    else:
        assert layers and len({layer.name for layer in layers}) == len(layers)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 2**31 - 1), st.sampled_from(list(Activation.known())), st.sampled_from(list(INITIALIZERS))
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["; ", "\n", " ;\n\n"]),
)
def test_what_is_written_is_what_is_read(layers: list[tuple[int, str, str]], between: str) -> None:
    text = between.join(f"h{i} = dense({u}, {a}, init={init})" for i, (u, a, init) in enumerate(layers))
    assert parse(text) == [dense(f"h{i}", u, a, init) for i, (u, a, init) in enumerate(layers)]
