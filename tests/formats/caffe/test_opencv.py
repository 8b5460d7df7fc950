"""OpenCV reads Caffe files too: it has the same blobs, and equal outputs as Keras with the converted ones."""

import cv2
import keras
import numpy as np
from caffe_files import blob, messages, net
from keras import layers

import ckpttool
from ckpttool import checkpoint

NETWORK = b"""
input: "data"
input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
"""
SHAPES = {"conv": ("Convolution", (8, 3, 3, 3), (8,)), "fc": ("InnerProduct", (5, 128), (5,))}
NUMBERS = {"Convolution": 4, "InnerProduct": 14}


def made():
    chance = np.random.default_rng(0)
    return {
        name: (kind, *(chance.uniform(0.1, 0.9, shape).astype(np.float32) for shape in shapes))
        for name, (kind, *shapes) in SHAPES.items()
    }


def opened(message):
    raw = np.frombuffer(message.SerializeToString(), np.uint8)
    return cv2.dnn.readNetFromCaffe(np.frombuffer(NETWORK, np.uint8), raw)


def test_blobs_are_those_that_opencv_has(tmp_path):
    arrays = made()
    old = messages()["Net"](name="old")
    for name, (kind, *blobs) in arrays.items():
        old.layers.add(name=name, type=NUMBERS[kind]).blobs.extend(blob(each, legacy=True) for each in blobs)
    for message in (net(**arrays), old):
        (tmp_path / "a.caffemodel").write_bytes(message.SerializeToString())
        ckpt, theirs = checkpoint.open(tmp_path / "a.caffemodel"), opened(message)
        for name, tensor in ckpt.items():
            layer, _, number = name.partition("/")
            assert theirs.getParam(layer, int(number)).ravel().tolist() == tensor.read().ravel().tolist()


def test_keras_computes_the_same_with_a_converted_network(tmp_path):
    arrays = made()
    message = net(**arrays)
    (tmp_path / "a.caffemodel").write_bytes(message.SerializeToString())
    image = keras.Input((4, 4, 3))
    flat = layers.Flatten()(layers.Conv2D(8, 3, padding="same", name="conv")(image))
    keras.Model(image, layers.Dense(5, name="fc")(flat)).save(tmp_path / "like.keras")
    ckpttool.convert(tmp_path / "a.caffemodel", tmp_path / "out.keras", like=tmp_path / "like.keras")
    rows = np.random.default_rng(1).normal(size=(1, 4, 4, 3)).astype(np.float32)
    theirs = opened(message)
    theirs.setInput(rows.transpose(0, 3, 1, 2).copy())
    found = keras.models.load_model(tmp_path / "out.keras").predict(rows, verbose=0)
    np.testing.assert_allclose(found, theirs.forward(), rtol=1e-5)
