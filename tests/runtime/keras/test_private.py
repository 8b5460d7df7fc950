"""What is needed of Keras's private parts does what it is needed for."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

from ckpttool.runtime.keras import private
from ckpttool.runtime.keras.private import comparing_values
from tests.runtime.keras.networks import NETWORKS, keras, layers

tf1 = tf.compat.v1


def test_in_keras_code_tensors_of_a_graph_are_compared_by_value_and_nowhere_else() -> None:
    with tf1.Graph().as_default(), comparing_values():
        images = tf1.placeholder(tf.float32, [2, 4, 4, 3])
        layer = layers.RandAugment(num_ops=1)
        layer.build(images.shape)
        chosen = {"layer_idxes": tf.constant([3]), "transforms": dict.fromkeys(["auto_contrast", "equalization"])}
        layer.transform_images(images, chosen)

        assert "Equal" in {op.type for op in tf1.get_default_graph().get_operations()}
        assert (images == 3) is False
        assert images != tf.constant(3.0)

    assert keras.ops.convert_to_tensor(3) == 3


def test_a_model_is_built_without_values_and_leaves_nothing_to_initialise() -> None:
    with private.variables_without_values():
        model = keras.Sequential([layers.Input((3,)), layers.Dense(2, kernel_initializer="ones")])
    kernel, _ = model.variables

    assert kernel._value is None
    np.testing.assert_array_equal(private.initializer_of(kernel)((3, 2), dtype="float32"), np.ones((3, 2)))
    assert layers.Dense(1)(np.ones((1, 2))).shape == (1, 1)  # what is built afterwards has values at once


def test_places_are_those_of_the_file_that_keras_writes(tmp_path: Path) -> None:
    model = NETWORKS["nested"]()
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive, archive.open("model.weights.h5") as member:
        places = Hdf5Places()
        h5py.File(io.BytesIO(member.read())).visititems(places)

    found = private.places_of_variables(model)

    assert set(found.variables) == places.names
    assert found.variables["layers/dense/vars/0"][0] == ("top",)


def test_the_walk_does_not_make_a_layer_for_each_layer_to_compare_it_with(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = NETWORKS["nested"](), list[str]()
    begin = layers.Layer.__init__
    monkeypatch.setattr(layers.Layer, "__init__", lambda self, **given: (made.append(""), begin(self, **given))[1])

    private.places_of_variables(model)

    assert len(made) <= 4  # one for each kind, however many layers there are


class Hdf5Places:
    """The names of the data sets of a file of weights."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            self.names.add(name)


def test_a_network_runs_layer_by_layer_with_what_stands_for_each() -> None:
    model, ran = NETWORKS["shared"](), list[str]()
    rows = {name: np.ones((2, 5), "float32") for name in ("one", "two")}

    def call(node: Any, layer: Any) -> Any:
        ran.append(layer.name)
        return layer

    inputs = private.packed_inputs(model, list(rows.values()))
    outputs = private.run_layer_by_layer(model, inputs, None, call)

    for found, expected in zip(outputs, model(list(rows.values())), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert ran.count("both") == 2
    assert {name for name, _ in private.calls_of_network(model).values()} >= {"one", "two", "both", "left", "right"}


def test_what_a_layer_is_made_of_and_depends_on_is_told() -> None:
    model = NETWORKS["penalised"]()
    norm = model.get_layer("norm")

    assert private.is_network(NETWORKS["nested"]().get_layer("inner"))
    assert not private.is_network(norm)
    assert private.layers_within(model)[0] is model
    assert private.takes_training(norm)
    assert not private.takes_training(model.get_layer("conv"))
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(private.moments_of(norm, images, None)[0], images.mean((0, 1, 2)), rtol=1e-5)
    assert len(private.weight_losses_of(model)) == 2


def test_what_is_trained_is_restored() -> None:
    model = NETWORKS["nested"]()
    top = model.get_layer("top")
    with private.trainable_restored(model):
        private.set_trainable_alone(model, False)
        top.trainable = False
        assert not any(weight.trainable for weight in top.weights)

    assert model.trainable
    assert all(weight.trainable for weight in top.weights)


def test_optimizers_are_built_for_variables_without_values() -> None:
    with private.variables_without_values():
        model = keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    for optimizer in (keras.optimizers.Adam(), keras.optimizers.Nadam()):
        private.build_optimizer(optimizer, model.trainable_variables)

        assert [weight.shape for weight, _ in private.slots_of(optimizer, "_momentums")] == [(3, 2), (2,)]


def test_the_reason_of_an_error_is_a_line() -> None:
    with pytest.raises(ValueError, match="incompatible") as raised:
        layers.Dense(2)(np.ones(3))

    assert private.reason_of(raised.value).startswith("Input 0")
    assert "\n" not in private.reason_of(raised.value)
