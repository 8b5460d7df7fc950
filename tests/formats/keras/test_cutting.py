"""Networks cut after a call of a layer: Keras builds the rest, which computes the whole network's values there."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.cutting import Call, cut_after, last_call, layer, layer_names, outputs_of, with_layers
from ckpttool.runtime.keras.private.walking import calls_of_network

SIDES = [np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32) for seed in (1, 2)]


def config_of(model: Any) -> Any:
    import keras

    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def left_of(config: Any, whole: Any) -> Any:
    """The model of a config with the weights of another, by the paths of their variables."""
    import keras

    model = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    values = {variable.path: variable for variable in whole.variables}
    for variable in model.variables:
        variable.assign(values[variable.path])
    return model


def tensor_of(model: Any, call: Call) -> Any:
    """The output of a call of a layer in a model."""
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    return next(node.outputs[call[2]] for node in nodes if calls_of_network(model)[id(node)] == call[:2])


@pytest.fixture
def branching() -> Any:
    """A network with two inputs, shared layers, and a nested network with two outputs."""
    import keras

    keras.utils.set_random_seed(3)
    L = keras.layers
    given = keras.Input((4,), name="given")
    first = L.Dense(5, name="first")(given)
    inner = keras.Model(given, [L.Dense(6, name="top")(first), L.Dense(6, name="other")(first)], name="inner")
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    shared, twice = L.Dense(4, name="shared"), L.Dense(4, name="twice")
    top, other = inner(shared(a))
    side = L.Dense(6, name="side")(twice(twice(shared(b))))
    both = L.Add(name="both")([L.Multiply(name="product")([top, other]), side])
    return keras.Model([a, b], L.Dense(2, name="outputs")(both), name="net")


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (("shared", 0, 0), "a shared"),
        (("shared", 1, 0), "b shared"),
        (("twice", 0, 0), "b shared twice"),
        (("twice", 1, 0), "b shared twice"),
        (("inner", 0, 0), "a shared inner"),
        (("inner", 0, 1), "a shared inner"),
        (("both", 0, 0), "a b shared twice inner product side both"),
        (("outputs", 0, 0), "a b shared twice inner product side both outputs"),
    ],
)
def test_what_is_left_computes_what_the_whole_did(branching: Any, call: Call, names: str) -> None:
    import keras

    cut = cut_after(config_of(branching), [call])
    assert set(layer_names(cut.model)) == set(names.split())
    left = left_of(cut.model, branching)
    expected = keras.Model(branching.inputs, tensor_of(branching, call)).predict(SIDES, verbose=0)
    given = [side for side, name in zip(SIDES, "ab", strict=True) if name in names.split()]
    found = left.predict(given if len(given) > 1 else given[0], verbose=0)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert cut.row([call]) == (last_call(cut.model),)
    assert outputs_of(cut.model) == 1


@pytest.mark.parametrize("inner", [("first", 0, 0), ("top", 0, 0), ("other", 0, 0)])
def test_a_model_within_is_cut_too(branching: Any, inner: Call) -> None:
    import keras

    row: Sequence[Call] = [("inner", 0, 0), inner]
    cut = cut_after(config_of(branching), row)
    left, nested = left_of(cut.model, branching), branching.get_layer("inner")
    within = keras.Model(nested.inputs, tensor_of(nested, inner))
    below = keras.Model(branching.inputs, tensor_of(branching, ("shared", 0, 0)))
    expected = within.predict(below.predict(SIDES, verbose=0), verbose=0)
    np.testing.assert_allclose(left.predict(SIDES[0], verbose=0), expected, atol=1e-6)
    assert ("top" in [each.name for each in left.get_layer("inner").layers]) == (inner[0] != "first")


def test_a_sequential_model_stays_one_and_layers_go_on_top() -> None:
    import keras

    keras.utils.set_random_seed(3)
    L = keras.layers
    base = keras.Sequential([keras.Input((3,)), L.Dense(4, name="in"), L.Dense(5, name="out")], name="base")
    model = keras.Sequential([keras.Input((3,)), base, L.Dense(2, name="outputs")])
    cut = cut_after(config_of(model), [("base", 0, 0), ("in", 0, 0)])
    assert cut.row([("base", 0, 0), ("out", 0, 0)]) is None
    new = with_layers(cut.model, [layer("ReLU", "relu"), layer("Dense", "head", units=7)])
    made = keras.saving.deserialize_keras_object(new)
    assert type(made) is keras.Sequential
    assert [(each.name, each.output.shape) for each in made.layers] == [
        ("base", (None, 4)),
        ("relu", (None, 4)),
        ("head", (None, 7)),
    ]


def test_layers_go_on_what_a_functional_model_gives(branching: Any) -> None:
    import keras

    cut = cut_after(config_of(branching), [("inner", 0, 1)])
    made = keras.saving.deserialize_keras_object(with_layers(cut.model, [layer("Dense", "head", units=7)]))
    assert made.output.shape == (None, 7)


def test_a_model_that_is_called_twice_is_not_cut_within() -> None:
    import keras

    L = keras.layers
    base = keras.Sequential([keras.Input((3,)), L.Dense(3, name="in"), L.Dense(3, name="out")], name="base")
    a = keras.Input((3,))
    config = config_of(keras.Model(a, base(base(a))))
    with pytest.raises(FormatError, match="base is a model that is called 2 times, and in is in it"):
        cut_after(config, [("base", 1, 0), ("in", 0, 0)])
    assert cut_after(config, [("base", 0, 0), ("in", 0, 0)]).model
