"""Weights in the format of Keras 1 and 2, listed by layer in attributes, which Keras 3 expects in an `.h5` file."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpttool.core.tensors import Tensor
from ckpttool.formats.keras.writing import KerasWeights
from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.build import KerasModel

LAYERS, WEIGHTS = "layer_names", "weight_names"
TOP = "top_level_model_weights"
LARGEST = 64512
"""The largest size of an attribute in bytes; longer lists are split as in Keras's `save_attributes_to_hdf5_group`."""


def listed_weights(model: KerasModel, values: Mapping[str, Tensor]) -> tuple[KerasWeights, dict[str, str]]:
    """Return the weights of a network by layer, in order, and the path of each weight by its name in the network.

    The trained weights of a layer come first, as Keras expects; `values` are by the network's names.
    """
    names = {id(variable): name for name, variable in model.variables.items()}
    places: dict[str, str] = {}
    attributes: dict[str, dict[str, Any]] = {"": {"backend": "tensorflow", "keras_version": keras().__version__}}
    layers = [layer.name for layer in model.live.layers]
    attributes[""] |= _parted(LAYERS, layers)
    for layer in model.live.layers:
        own = [names[id(each)] for each in (*layer.trainable_weights, *layer.non_trainable_weights)]
        attributes[layer.name] = _parted(WEIGHTS, own)
        places |= {name: f"{layer.name}/{name}" for name in own}
    attributes[TOP] = _parted(WEIGHTS, [])
    return KerasWeights({place: values[name] for name, place in places.items()}, attributes), places


def _parted(key: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the attributes for a list of names."""
    whole = np.array([name.encode() for name in names], dtype=None if names else "S1")
    count = max(1, -(-whole.nbytes // LARGEST))
    if count == 1:
        return {key: whole}
    return {f"{key}{number}": part for number, part in enumerate(np.array_split(whole, count + 1))}
