"""What is needed of Keras's private parts does what it is needed for."""

import tensorflow as tf

from ckpttool.runtime.keras.private import comparing_values
from tests.runtime.keras.networks import keras, layers

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
