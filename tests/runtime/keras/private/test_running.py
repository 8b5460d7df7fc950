"""A network runs layer by layer, as Keras would run it."""

from typing import Any

import numpy as np
import tensorflow as tf

from ckpttool.runtime.keras.private.running import (
    comparing_values,
    moments_of,
    packed_inputs,
    run_layer_by_layer,
    weight_losses_of,
)
from ckpttool.runtime.keras.private.walking import calls_of_network
from tests.runtime.keras.networks import NETWORKS, keras, layers

tf1 = tf.compat.v1


def test_a_network_runs_layer_by_layer_with_what_stands_for_each() -> None:
    model, ran = NETWORKS["shared"](), list[str]()
    rows = {name: np.ones((2, 5), "float32") for name in ("one", "two")}

    def call(node: Any, layer: Any) -> Any:
        ran.append(layer.name)
        return layer

    inputs = packed_inputs(model, list(rows.values()))
    outputs = run_layer_by_layer(model, inputs, None, call)

    for found, expected in zip(outputs, model(list(rows.values())), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert ran.count("both") == 2
    assert {name for name, _ in calls_of_network(model).values()} >= {"one", "two", "both", "left", "right"}


def test_batches_and_weights_are_judged_as_in_training() -> None:
    model = NETWORKS["penalised"]()
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(moments_of(model.get_layer("norm"), images, None)[0], images.mean((0, 1, 2)), rtol=1e-5)
    assert len(weight_losses_of(model)) == 2


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
