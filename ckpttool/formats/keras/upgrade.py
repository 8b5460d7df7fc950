"""Conversion of Keras 2 configs to Keras 3, if both compute the same; features that Keras 3 lacks are refused.

Keras 3 can read some of them itself, but sometimes incorrectly: it accepts `hard_sigmoid`, which has another slope now,
and misinterprets the batch shape of a first layer. Configs must have passed the gate.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.connections import models_within
from ckpttool.formats.keras.cutting import serialized
from ckpttool.formats.keras.gate import HELP, LAYER_KEYS, Place
from ckpttool.formats.keras.upgrade_calls import calls_upgraded

Config = dict[str, Any]
ANY = object()
"""Marks a field that does not affect the computation, whatever its value."""
_KERNEL = {"kernel_initializer": ANY, "kernel_regularizer": ANY, "kernel_constraint": ANY}
GONE: Mapping[str, Mapping[str, Any]] = {
    "BatchNormalization": {
        "fused": ANY,
        "virtual_batch_size": None,
        "adjustment": None,
    },
    "Conv1DTranspose": {"groups": 1},
    "Conv2DTranspose": {"groups": 1},
    "Conv3DTranspose": {"groups": 1},
    "DepthwiseConv1D": {"groups": 1, "filters": None, **_KERNEL},
    "DepthwiseConv2D": {"groups": 1, "filters": None, **_KERNEL},
    "SeparableConv1D": {"groups": 1, **_KERNEL},
    "SeparableConv2D": {"groups": 1, **_KERNEL},
    "Embedding": {"input_length": ANY},
    "Discretization": {"trainable": ANY},
    "SpatialDropout1D": {"trainable": ANY, "noise_shape": ANY},
    "SpatialDropout2D": {"trainable": ANY, "noise_shape": ANY},
    "SpatialDropout3D": {"trainable": ANY, "noise_shape": ANY},
    "MultiHeadAttention": {"query_shape": ANY, "key_shape": ANY, "value_shape": ANY, "softmax_robust_masking": False},
}
"""The fields of Keras 2's layers that Keras 3 does not have, with the value that corresponds to Keras 3's behaviour."""
GONE_ANYWHERE: Mapping[str, Any] = {"time_major": False, "rng_type": ANY}
"""Such fields that many layers have."""
RENAMED = {"LeakyReLU": {"alpha": "negative_slope"}}
"""Fields with another name in Keras 3."""
UNTOLD: Mapping[str, Mapping[str, Any]] = {"GRU": {"reset_after": False}, "GRUCell": {"reset_after": False}}
"""Fields that Keras 2.0 and 2.1 did not have, with the value that corresponds to their behaviour."""
INITIALIZERS = "keras.initializers"
DISTRIBUTIONS = {"normal": "truncated_normal"}


def is_old(version: str) -> bool:
    """Return whether a version of Keras is before 3; `2.2.4-tf` is TensorFlow's own.

    >>> is_old("2.2.4-tf"), is_old("3.15.0")
    (True, False)
    """
    return re.match(r"[012]\.", version) is not None


def upgraded(config: Config, place: Place) -> tuple[Config, dict[str, str]]:
    """Return a network's config for Keras 3, and the new names of renamed layers with their names in the file.

    Raises:
        FormatError: a layer uses a feature that Keras 3 does not have.
    """
    renamed = _without_slashes(config)
    return _upgraded(_replaced(config, renamed), place), {new: old for old, new in renamed.items()}


def computed_from_file(config: Any, place: Place) -> Any:
    """Return a config without LoRA, whose factors are merged into the file's kernels.

    Raises:
        FormatError: a layer is stateful: its state is in no file.
    """
    if isinstance(config, list):
        return [computed_from_file(each, place) for each in config]
    if not isinstance(config, Mapping):
        return config
    own = config.get("config")
    place = place.within(own.get("name")) if isinstance(own, Mapping) and "module" in config else place
    if config.get("stateful") is True:
        raise FormatError(
            f"{place} is stateful, so its output depends on the rows before: set its stateful to False in Keras, "
            "and save the model again"
        )
    return {key: computed_from_file(value, place) for key, value in config.items() if not key.startswith("lora_")}


def _without_slashes(config: Config) -> dict[str, str]:
    """Return new names for layers whose names contain slashes, as DenseNet's did in Keras 2: `conv1_conv`."""
    names = {layer["config"]["name"] for model, _ in models_within(config) for layer in model["config"]["layers"]}
    renamed: dict[str, str] = {}
    for name in sorted(name for name in names if "/" in name):
        new = name.replace("/", "_")
        while new in names:
            new += "_"
        names.add(new)
        renamed[name] = new
    return renamed


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """Return a value with strings replaced anywhere in it."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, list):
        return [_replaced(each, texts) for each in value] if texts else value
    return {key: _replaced(each, texts) for key, each in value.items()} if isinstance(value, Mapping) else value


def _upgraded(config: Config, place: Place) -> Config:
    own = config["config"]
    if config["class_name"] not in ("Functional", "Sequential"):
        return _layer(config, place)
    place = place.within(own.get("name"))
    layers = [_upgraded(layer, place) for layer in own["layers"]]
    if config["class_name"] == "Sequential":
        return {**config, "config": {**own, "layers": _with_input(layers, own["layers"])}}
    return {**config, "config": {**own, **calls_upgraded({**own, "layers": layers})}}


def _layer(config: Config, place: Place) -> Config:
    """Return a layer's config for Keras 3, including nested layers."""
    own, kind = dict(config["config"] or {}), config["class_name"]
    place = place.within(own.get("name"))
    shape = own.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        own["batch_shape"] = shape
    own = {key: _number(value) for key, value in own.items()}
    own = {RENAMED.get(kind, {}).get(key, key): value for key, value in own.items()}
    for key, harmless in {**GONE_ANYWHERE, **GONE.get(kind, {})}.items():
        value = own.pop(key, harmless)
        if harmless is not ANY and value != harmless:
            raise FormatError(f"{place} has {key} = {value}, and a {kind} of Keras 3 has no {key}; {HELP}")
    if kind == "BatchNormalization" and not own.get("renorm"):  # older versions of Keras 3 do not know these
        own = {key: value for key, value in own.items() if not key.startswith("renorm")}
    own = {**UNTOLD.get(kind, {}), **own}
    if isinstance(own.get("axis"), list) and len(own["axis"]) == 1 and kind == "BatchNormalization":
        own["axis"] = own["axis"][0]
    for key, value in own.items():
        if key.endswith("activation") and value == "hard_sigmoid":
            own[key] = hard_sigmoid(own.get("dtype"))
        elif key in LAYER_KEYS:
            own[key] = _each(value, lambda inner: _upgraded(inner, place))
        elif isinstance(value, Mapping) and value.get("module") == INITIALIZERS:
            own[key] = _initializer(value)
    return {**{key: value for key, value in config.items() if key != "build_config"}, "config": own}


def _each(value: Any, change: Callable[[Any], Config]) -> Any:
    """Apply `change` to a config, or to each config in a list."""
    if isinstance(value, list):
        return [_each(each, change) for each in value]
    return change(value) if isinstance(value, Mapping) and {"class_name", "config"} <= value.keys() else value


def _number(value: Any) -> Any:
    """Return the number that Keras 2 has written as a NumPy array; other values are returned unchanged."""
    return value["value"] if isinstance(value, Mapping) and value.get("type") == "ndarray" else value


def _initializer(config: Mapping[str, Any]) -> Config:
    """Return an initializer without its dtype, for which Keras 3 uses the layer's."""
    own = {key: value for key, value in (config.get("config") or {}).items() if key != "dtype"}
    if "distribution" in own:
        own["distribution"] = DISTRIBUTIONS.get(own["distribution"], own["distribution"])
    return {**config, "config": own}


def hard_sigmoid(dtype: Any) -> Config:
    """Return Keras 2's `hard_sigmoid` (slope 1 / 5) as layers of Keras 3, whose own has the slope 1 / 6."""
    own = {"dtype": dtype} if dtype else {}
    layers = [
        serialized("keras.layers", "Rescaling", name="rescaling", scale=0.2, offset=0.5, **own),
        serialized("keras.layers", "ReLU", name="re_lu", max_value=1.0, **own),
    ]
    return serialized("keras", "Sequential", name="hard_sigmoid", layers=layers, **own)


def _with_input(layers: list[Config], before: list[Config]) -> list[Config]:
    """Return a Sequential model's layers with an input layer, which is a field of the first layer in Keras 2."""
    first = before[0]["config"] if before else None
    if not isinstance(first, Mapping) or before[0]["class_name"] in ("InputLayer", "Functional", "Sequential"):
        return layers
    shape, dtype = first.get("batch_input_shape"), first.get("dtype")
    if shape is None:
        return layers
    name, kind = f"{first.get('name', 'first')}_input", dtype if isinstance(dtype, str) else "float32"
    return [serialized("keras.layers", "InputLayer", name=name, batch_shape=shape, dtype=kind), *layers]
