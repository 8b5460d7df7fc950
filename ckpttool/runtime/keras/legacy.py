"""Weights as Keras 1 and 2 keep them, listed by layers in attributes, which Keras 3 expects of an `.h5`."""

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
"""Bytes of an attribute; a longer list is parted, as Keras parts it (`save_attributes_to_hdf5_group`)."""


def listed_weights(model: KerasModel, values: Mapping[str, Tensor]) -> tuple[KerasWeights, dict[str, str]]:
    """Return the weights of a network by layers in their order, and the path of each by its name in the network.

    In a layer those that are trained come first, as Keras expects them; `values` are by the network's names.
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
    """Return the attributes that hold a list of names."""
    whole = np.array([name.encode() for name in names], dtype=None if names else "S1")
    count = max(1, -(-whole.nbytes // LARGEST))
    if count == 1:
        return {key: whole}
    return {f"{key}{number}": part for number, part in enumerate(np.array_split(whole, count + 1))}
