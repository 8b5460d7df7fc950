"""Every Keras layer, traced: its inference outputs equal Keras's, and they depend on training if Keras's do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.formats.keras.classes import CLASSES
from ckpttool.model.model import Model
from ckpttool.runtime.keras.training import depends_on_training
from tests.runtime.keras.networks import keras, layers
from tests.runtime.keras.test_trace import run

IMAGE, ROW, SEQUENCE, VOLUME, NUMBERS = (8, 8, 3), (6,), (5, 4), (5, 5, 5, 2), (3,)
PAIRS = (
    "Add",
    "Average",
    "Concatenate",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "AdditiveAttention",
    "Attention",
)
TWICE = ("MultiHeadAttention", "GroupQueryAttention")
BY_CHANCE = {"value_range": (0, 8)}


def alike(names: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """Return the same settings for several layers."""
    return {name: dict(settings) for name in names.split()}


MADE: Mapping[tuple[int, ...], Mapping[str, Mapping[str, Any]]] = {
    IMAGE: {
        **alike("Conv2D Conv2DTranspose SeparableConv2D", filters=3, kernel_size=2),
        "DepthwiseConv2D": {"kernel_size": 2},
        **alike("AdaptiveAveragePooling2D AdaptiveMaxPooling2D", output_size=2),
        **alike("GlobalAveragePooling2D GlobalMaxPooling2D Cropping2D"),
        **alike("AveragePooling2D MaxPooling2D", pool_size=2),
        **alike("UpSampling2D ZeroPadding2D Flatten BatchNormalization LayerNormalization"),
        **alike("RMSNormalization UnitNormalization AutoContrast RandomFlip Solarization"),
        **alike("CutMix MixUp RandomErasing RandomGaussianBlur RandomGrayscale"),
        "RandomInvert": {},
        "RandomColorJitter": {**BY_CHANCE, "brightness_factor": 0.3, "hue_factor": 0.3},
        **alike("RandomColorDegeneration RandomHue", factor=0.5),
        **alike("RandomBrightness RandomContrast RandomRotation RandomSaturation", factor=0.5),
        "RandomPosterization": {"factor": 3},
        "RandomSharpness": {"factor": 0.5},
        "RandomCrop": {"height": 4, "width": 4},
        "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
        "RandomZoom": {"height_factor": 0.3},
        "GroupNormalization": {"groups": 3},
        "SpatialDropout2D": {"rate": 0.5},
        "CenterCrop": {"height": 4, "width": 4},
        "Resizing": {"height": 5, "width": 5},
        "Rescaling": {"scale": 2.0, "offset": -1},
        "Permute": {"dims": (2, 1, 3)},
    },
    ROW: {
        **alike("Dense", units=3),
        "Activation": {"activation": "mish"},
        "ActivityRegularization": {"l2": 0.1},
        **alike("AlphaDropout Dropout GaussianDropout", rate=0.3),
        "GaussianNoise": {"stddev": 0.3},
        **alike("ELU LeakyReLU PReLU ReLU Softmax Identity Normalization"),
        **alike("Add Average Concatenate Maximum Minimum Multiply Subtract"),
        "Dot": {"axes": 1},
        "RepeatVector": {"n": 3},
        "Reshape": {"target_shape": (-1, 2)},
        "Discretization": {"bin_boundaries": [1.0, 3.0, 5.0]},
    },
    SEQUENCE: {
        **alike("Conv1D Conv1DTranspose SeparableConv1D", filters=3, kernel_size=2),
        "DepthwiseConv1D": {"kernel_size": 2},
        **alike("AdaptiveAveragePooling1D AdaptiveMaxPooling1D", output_size=2),
        **alike("GlobalAveragePooling1D GlobalMaxPooling1D Cropping1D"),
        **alike("AveragePooling1D MaxPooling1D", pool_size=2),
        **alike("UpSampling1D ZeroPadding1D Masking AdditiveAttention"),
        "SpatialDropout1D": {"rate": 0.5},
        "Attention": {"use_scale": True, "dropout": 0.3},
        "MultiHeadAttention": {"num_heads": 2, "key_dim": 3, "dropout": 0.3},
        "GroupQueryAttention": {"num_query_heads": 2, "head_dim": 4, "num_key_value_heads": 2, "dropout": 0.3},
        **alike("SimpleRNN GRU", units=3),
        "LSTM": {"units": 3, "dropout": 0.3, "return_state": True},
        "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 7), "bias_axes": "d"},
    },
    VOLUME: {
        **alike("Conv3D Conv3DTranspose", filters=3, kernel_size=2),
        **alike("AdaptiveAveragePooling3D AdaptiveMaxPooling3D", output_size=2),
        **alike("GlobalAveragePooling3D GlobalMaxPooling3D Cropping3D"),
        **alike("AveragePooling3D MaxPooling3D", pool_size=2),
        **alike("UpSampling3D ZeroPadding3D"),
        "SpatialDropout3D": {"rate": 0.5},
        "ConvLSTM2D": {"filters": 2, "kernel_size": 2},
    },
    NUMBERS: {
        "CategoryEncoding": {"num_tokens": 9, "output_mode": "multi_hot"},
        "Hashing": {"num_bins": 7},
        **alike("Embedding ReversibleEmbedding", input_dim=9, output_dim=3),
    },
}
"""For each shape of rows the layers that accept it, and their arguments."""
WRAPPED: Mapping[str, tuple[tuple[int, ...], Callable[[], Any]]] = {
    "Bidirectional": (SEQUENCE, lambda: layers.Bidirectional(layers.SimpleRNN(2, dropout=0.3))),
    "TimeDistributed": (SEQUENCE, lambda: layers.TimeDistributed(layers.Dense(3))),
    "TimeDistributed of a normalisation": (SEQUENCE, lambda: layers.TimeDistributed(layers.BatchNormalization())),
    "RNN": (SEQUENCE, lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)])),
    "StackedRNNCells": (SEQUENCE, lambda: layers.RNN(layers.StackedRNNCells([layers.SimpleRNNCell(3)]))),
    "SpectralNormalization": (ROW, lambda: layers.SpectralNormalization(layers.Dense(4))),
    "BatchNormalization, renorm": (IMAGE, lambda: layers.BatchNormalization(renorm=True)),
    "Pipeline": (IMAGE, lambda: layers.Pipeline([layers.RandomFlip(), layers.Rescaling(2.0)])),
    "Normalization, given": (IMAGE, lambda: layers.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3])),
    "LoRA": (ROW, lambda: layers.Dense(3, lora_rank=2)),
    "LSTM, unrolled": (SEQUENCE, lambda: layers.LSTM(3, unroll=True)),
    "GRU, backwards": (SEQUENCE, lambda: layers.GRU(3, reset_after=False, go_backwards=True)),
    "LayerScale": (ROW, lambda: convnext().LayerScale(0.1, 6)),
    "StochasticDepth": (ROW, lambda: convnext().StochasticDepth(0.5)),
}
"""Layers that contain others, or are constructed differently."""
ELSEWHERE = {
    "ConvLSTM1D": "as ConvLSTM2D",
    "ConvLSTM3D": "as ConvLSTM2D",
    "Equalization": "Keras makes no network with it: a circle",
    "RandomShear": "Keras does not read its own config",
    "STFTSpectrogram": "needs SciPy",
    "MelSpectrogram AugMix RandAugment ContrastLimitedAdaptiveHistogramEqualization": "take long",
    "RandomElasticTransform RandomPerspective": "take long",
    "HashedCrossing": "takes rows of two kinds",
    "MaxNumBoundingBoxes": "takes no rows but boxes",
    "InputLayer": "computes nothing",
    "StringLookup IntegerLookup TextVectorization": "hold tables: tests/runtime/keras/test_tables.py",
    "GRUCell LSTMCell SimpleRNNCell": "in RNN",
}
"""Layers that are not tested here, and why."""


def convnext() -> Any:
    from keras.src.applications import convnext

    return convnext


def made(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the layers for rows of a shape, by name."""
    found = {name: getattr(layers, name)(**settings) for name, settings in MADE[shape].items()}
    return found | {name: make() for name, (own, make) in WRAPPED.items() if own == shape}


@pytest.mark.parametrize("shape", MADE, ids=str)
def test_every_layer_gives_what_keras_gives_and_depends_on_training_where_it_does_there(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    kind = "int32" if shape is NUMBERS else "float32"
    rows, found = layers.Input(shape, dtype=kind, name="rows"), made(shape)
    called = {name: called_on(layer, name, rows) for name, layer in found.items()}
    network = keras.Model(rows, [keras.tree.flatten(output)[0] for output in called.values()])
    random = np.random.default_rng(0)
    for variable in network.variables:
        if variable.dtype.startswith("float"):
            variable.assign(variable.numpy() + random.uniform(0, 0.3, variable.shape))
    network.save(tmp_path / "net.keras")
    fed = random.uniform(0, 8, (5, *shape)).astype(kind)

    model = Model.open(tmp_path / "net.keras")

    again = keras.models.load_model(tmp_path / "net.keras")
    before = [variable.numpy() for variable in again.variables]
    expected = again(fed, training=False)
    trained = again(fed, training=True)
    for variable, value in zip(again.variables, before, strict=True):
        variable.assign(value)
    outputs = model.graph.header.signature_def["serving_default"].outputs
    names = [outputs[name].name for name in network.output_names]
    given = run(model, {"rows": fed}, names, False)
    for name, one, other, training, layer in zip(found, given, expected, trained, found.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)
        differs = other.shape != training.shape or np.abs(np.subtract(other, training)).max() > 1e-6
        assert not differs or depends_on_training(layer), name


def called_on(layer: Any, name: str, rows: Any) -> Any:
    """Return a layer's output for rows, which some layers take twice."""
    if name in TWICE:
        return layer(rows, rows)
    return layer([rows, rows * 2] if name in PAIRS or name == "Dot" else rows)


def test_every_class_is_tried() -> None:
    tried = {layer for of_shape in MADE.values() for layer in of_shape} | {name.split(",")[0] for name in WRAPPED}
    left = {name for names in ELSEWHERE for name in names.split()}
    classes = {getattr(layers, name).__name__ for name in CLASSES["keras.layers"] if hasattr(layers, name)}
    classes -= {"GroupedQueryAttention"}  # Keras's inner name of GroupQueryAttention
    assert classes - tried - left == set()
