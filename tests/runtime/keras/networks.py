"""Small Keras networks, one for each way to combine layers."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ckpttool.runtime.configure import keras as keras_on_tensorflow

keras = keras_on_tensorflow()
layers = keras.layers


def convolutional() -> Any:
    """Return convolutions of each kind, with normalisations, one of which has no scale."""
    inputs = layers.Input((8, 8, 3), name="rows")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.DepthwiseConv2D(3, name="depth")(x)
    x = layers.SeparableConv2D(5, 3, padding="same", name="separable")(x)
    x = layers.BatchNormalization(center=False, scale=False, name="plain")(x)
    x = layers.PReLU(name="prelu")(layers.ZeroPadding2D()(x))
    x = layers.Concatenate()([layers.MaxPooling2D()(x), layers.AveragePooling2D(2)(x)])
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="top")(layers.GlobalAveragePooling2D()(x)))


def nested() -> Any:
    """Return a twice nested model."""
    deep = keras.Sequential([layers.Input((4,)), layers.Dense(4, name="deep"), layers.Dense(4)], name="sequence")
    inputs = layers.Input((4,))
    inner = keras.Model(inputs, layers.Add()([deep(inputs), inputs]), name="inner")
    rows = layers.Input((4,), name="rows")
    return keras.Model(rows, layers.Dense(2, name="top")(inner(rows)))


def shared() -> Any:
    """Return a layer that is called twice, on two inputs, and two outputs."""
    one, two = layers.Input((5,), name="one"), layers.Input((5,), name="two")
    both = layers.Dense(3, activation="tanh", name="both")
    first, second = both(one), both(two)
    return keras.Model(
        [one, two], [layers.Dense(2, name="left")(first * second), layers.Dense(1, name="right")(second)]
    )


def recurrent() -> Any:
    """Return recurrent layers of masked words."""
    rows = layers.Input((6,), dtype="int32", name="rows")
    x = layers.Embedding(9, 4, mask_zero=True, name="words")(rows)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both")(x)
    x = layers.TimeDistributed(layers.Dense(4), name="each")(x)
    return keras.Model(rows, layers.Dense(2, name="top")(layers.GRU(3, recurrent_dropout=0.2, name="gru")(x)))


def attending() -> Any:
    """Return attention with dropout, concatenated with its input."""
    rows = layers.Input((5, 4), name="rows")
    x = layers.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(rows, rows)
    x = layers.LayerNormalization(name="norm")(x + rows)
    return keras.Model(rows, layers.Dense(2, activation="gelu", name="top")(x))


def adapted() -> Any:
    """Return a normalisation whose mean and variance are those of the rows, and a nested one."""
    rows = layers.Input((5, 4), name="rows")
    own, each = layers.Normalization(name="own"), layers.Normalization(name="each")
    own.adapt(np.random.default_rng(2).normal(3, 2, (40, 5, 4)))
    each.adapt(np.random.default_rng(3).normal(1, 4, (40, 4)))
    x = layers.TimeDistributed(each, name="steps")(own(rows))
    return keras.Model(rows, layers.Dense(2, name="top")(layers.Flatten()(x)))


def penalised() -> Any:
    """Return penalties on weights and outputs, and a normalisation."""
    rows = layers.Input((6, 6, 1), name="rows")
    x = layers.Conv2D(2, 3, kernel_regularizer="l1", activity_regularizer="l2", name="conv")(rows)
    x = layers.BatchNormalization(momentum=0.9, gamma_regularizer="l2", name="norm")(x)
    return keras.Model(rows, layers.Dense(2, name="top")(layers.Flatten()(x)))


def normalised() -> Any:
    """Return equal normalisations with other sizes, or other differences: of parts, nested, shared, of series."""
    one = layers.Input((4, 4, 3))
    block = keras.Model(one, layers.BatchNormalization()(layers.BatchNormalization(name="first")(one)), name="block")
    both = layers.BatchNormalization(axis=3, momentum=0.9, name="both")
    rows = layers.Input((4, 4, 4), name="rows")
    parts = keras.ops.split(rows, 2, axis=-1)
    x = layers.Concatenate()([layers.BatchNormalization(name=f"part{n}")(part) for n, part in enumerate(parts)])
    x = both(layers.Conv2D(3, 1, name="conv")(block(layers.Conv2D(3, 1, name="below")(x))))
    x = layers.BatchNormalization(axis=3, momentum=0.9, scale=False, name="shifted")(both(x))
    x = layers.Conv2D(2, 2, name="smaller")(x)
    x = layers.BatchNormalization(momentum=0.9, scale=False, name="shifted_too")(x)
    x = layers.BatchNormalization(name="series")(layers.Reshape((9, 2))(x))
    x = layers.BatchNormalization(name="series_too")(x)
    x = layers.BatchNormalization(name="wider")(layers.Conv1D(3, 1, name="wide")(x))
    return keras.Model(rows, layers.BatchNormalization(name="vectors")(layers.GlobalAveragePooling1D()(x)))


def dropping() -> Any:
    """Return dropout alone."""
    return keras.Sequential([layers.Input((40,), name="rows"), layers.Dropout(0.5, name="drop")])


NETWORKS: Mapping[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (convolutional, nested, shared, recurrent, attending, adapted, penalised, normalised, dropping)
}


def rows_for(network: Any) -> dict[str, Any]:
    """Return a few rows for each input of a network, by the names of its inputs."""
    random = np.random.default_rng(0)
    shapes = {each.name: ((5, *each.shape[1:]), each.dtype) for each in network.inputs}
    return {name: random.uniform(0, 8, shape).astype(dtype) for name, (shape, dtype) in shapes.items()}
