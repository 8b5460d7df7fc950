"""Convert Keras 3 layer configs to those of TensorFlow.js's layers API, which are Keras 2's.

An option that TensorFlow.js ignores must have the value that it computes with; each entry of `LAYERS` was compared with
Keras by running both. Other layers, and values that TensorFlow.js computes differently, are errors that name them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.core.names import listed
from ckpttool.formats.keras.gate import Place

Config = Mapping[str, Any]
ANY = object()
"""Any value: TensorFlow.js computes the same as Keras."""
ONE = (1, [1], [1, 1], [1, 1, 1])
NOT = (None, False)
COMMON: Config = {"name": ANY, "trainable": ANY, "dtype": ANY, "activity_regularizer": NOT}
_SHAPED = {"data_format": ANY, "padding": ("valid", "same"), "strides": ANY}
_CONV = {**_SHAPED, "filters": ANY, "kernel_size": ANY, "use_bias": ANY, "activation": ANY, "dilation_rate": ANY}
_CONV |= {"groups": ONE}
_POOL = {**_SHAPED, "pool_size": ANY}
_GLOBAL = {"data_format": ("channels_last",), "keepdims": NOT}
_RECURRENT = {
    **dict.fromkeys(("units", "activation", "use_bias", "return_sequences", "go_backwards", "unroll"), ANY),
    **{"dropout": ANY, "recurrent_dropout": ANY, "return_state": NOT, "stateful": NOT},
}
_DROP = {"rate": ANY, "noise_shape": NOT}
LAYERS: Mapping[str, Config] = {
    "InputLayer": {"batch_shape": ANY, "sparse": NOT, "ragged": NOT, "optional": NOT},
    "Dense": {"units": ANY, "activation": ANY, "use_bias": ANY},
    "Embedding": {"input_dim": ANY, "output_dim": ANY, "mask_zero": NOT, "weights": NOT},
    "Activation": {"activation": ANY},
    "Conv1D": {**_CONV, "data_format": ("channels_last",)},
    "Conv2D": _CONV,
    "Conv2DTranspose": {**_CONV, "dilation_rate": ONE, "output_padding": NOT},
    "SeparableConv2D": {**_CONV, "depth_multiplier": ANY},
    "DepthwiseConv2D": {**_CONV, "depth_multiplier": ANY, "dilation_rate": ONE},
    "BatchNormalization": {
        **dict.fromkeys(("momentum", "epsilon", "center", "scale"), ANY),
        "axis": (-1, 3),
        "renorm": NOT,
    },
    "LayerNormalization": {**dict.fromkeys(("axis", "epsilon", "center", "scale"), ANY), "rms_scaling": NOT},
    **{key: {**_POOL, "data_format": ("channels_last",)} for key in ("MaxPooling1D", "AveragePooling1D")},
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), _POOL),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalAveragePooling1D"), _GLOBAL),
    **{key: {**_GLOBAL, "data_format": ANY} for key in ("GlobalMaxPooling2D", "GlobalAveragePooling2D")},
    "ZeroPadding2D": {"padding": ANY, "data_format": ANY},
    "Cropping2D": {"cropping": ANY, "data_format": ANY},
    "UpSampling2D": {"size": ANY, "data_format": ANY, "interpolation": ("nearest",)},
    "Flatten": {"data_format": ANY},
    "Reshape": {"target_shape": lambda sizes: -1 not in sizes},
    "Permute": {"dims": ANY},
    "RepeatVector": {"n": ANY},
    **{key: {} for key in ("Add", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": {"axis": ANY},
    "ReLU": {"max_value": ANY, "negative_slope": (0, 0.0, None), "threshold": (0, 0.0, None)},
    "LeakyReLU": {"negative_slope": ANY},
    "ELU": {"alpha": (1,)},
    "PReLU": {"shared_axes": ANY},
    "Softmax": {"axis": (-1, [-1])},
    "Dropout": _DROP,
    "SpatialDropout1D": _DROP,
    "GaussianNoise": {"stddev": ANY},
    "GaussianDropout": {"rate": ANY},
    "SimpleRNN": _RECURRENT,
    "LSTM": {**_RECURRENT, "recurrent_activation": ANY, "unit_forget_bias": ANY},
    "GRU": {**_RECURRENT, "recurrent_activation": ANY, "reset_after": NOT},
    "Bidirectional": {"layer": ANY, "merge_mode": ANY},
    "TimeDistributed": {"layer": ANY},
    "Rescaling": {"scale": ANY, "offset": ANY},
}
"""The options of each layer with the allowed values, `ANY`, or a predicate of the value."""
ACTIVATIONS = {
    **{name: name for name in ("linear", "relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus")},
    **{
        "softsign": "softsign",
        "silu": "swish",
        "swish": "swish",
        "mish": "mish",
        "hard_sigmoid (Keras 2)": "hard_sigmoid",
    },
}
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}, "InputLayer": {"batch_shape": "batch_input_shape"}}
UNSAID = ("seed", "quantization_config", "use_cudnn", "synchronized", "zero_output_for_mask", "backward_layer")
"""Options that do not affect the results, and are not written."""


def layer_config(layer: Config, place: Place) -> dict[str, Any]:
    """Return a layer's config for TensorFlow.js.

    Raises:
        FormatError: TensorFlow.js lacks the layer, or computes it differently.
    """
    kind, own = layer["class_name"], _last_axis(layer)
    place = place.within(own.get("name"))
    if kind not in LAYERS:
        raise FormatError(f"{place} is a {kind}, which TensorFlow.js does not have, or computes otherwise")
    if kind == "Bidirectional" and not _are_alike(own["layer"], own.get("backward_layer")):
        raise FormatError(f"{place} has a backward_layer of its own, and in TensorFlow.js it is a copy of layer")
    return {RENAMED.get(kind, {}).get(key, key): value for key, value in _kept(kind, own, place)}


def _last_axis(layer: Config) -> Config:
    """Return a layer's config with the axis -1 if it is the last axis of the input."""
    own, built = layer["config"], layer.get("build_config") or {}
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    is_last = isinstance(shape, list) and own.get("axis") == len(shape) - 1
    return {**own, "axis": -1} if is_last else own


def _are_alike(one: Config, other: Config | None) -> bool:
    """Return whether two recurrent layers differ only in direction and name."""
    if other is None:
        return True
    own, there = ({k: v for k, v in each["config"].items() if not _is_unsaid(k)} for each in (one, other))
    reverse = {"go_backwards": there.get("go_backwards"), "name": there.get("name"), "dtype": there.get("dtype")}
    return one["class_name"] == other["class_name"] and {**own, **reverse} == there


def _is_unsaid(key: str) -> bool:
    return key in UNSAID or key.endswith("_initializer") or key.startswith("renorm_")


def _kept(kind: str, own: Config, place: Place) -> Iterator[tuple[str, Any]]:
    """Yield the options that TensorFlow.js reads; initializers are omitted, since all weights are loaded."""
    allowed = {**COMMON, **LAYERS[kind]}
    for key, value in own.items():
        if key.endswith(("_regularizer", "_constraint")) and value is not None:
            yield key, _penalty(value)
        elif not _is_unsaid(key):
            values = allowed.get(key, NOT)
            if values is not ANY and not (values(value) if callable(values) else value in values):
                raise FormatError(
                    f"{place} is a {kind} with {key} = {str(value)[:80]}, which TensorFlow.js does not have"
                )
            if key in allowed:
                yield key, _value(key, value, place)


def _value(key: str, value: Any, place: Place) -> Any:
    if key == "dtype":
        return _dtype(value, place)
    return _activation(value, place) if key.endswith("activation") else value


def _dtype(value: Any, place: Place) -> str:
    """Return a layer's dtype; for a mixed precision policy, that of its variables."""
    name = (value.get("config") or {}).get("name") if isinstance(value, Mapping) else value
    if name in (None, "mixed_float16", "mixed_bfloat16"):
        return "float32"
    if name not in ("float32", "int32", "bool"):
        raise FormatError(f"{place} computes in {name}, which TensorFlow.js does not")
    return str(name)


def _activation(value: Any, place: Place) -> str:
    name = value
    if isinstance(value, Mapping):  # as the upgrade from Keras 2 writes it
        own = value.get("config") or {}
        name = f"{own.get('name')} (Keras 2)" if value.get("class_name") == "Sequential" else value.get("class_name")
    if name not in ACTIVATIONS:
        known = listed(sorted({*ACTIVATIONS.values()}), len(ACTIVATIONS))
        raise FormatError(
            f"{place} has the activation {str(name)[:80]}, expected one that TensorFlow.js has too: {known}"
        )
    return ACTIVATIONS[name]


def _penalty(value: Config) -> dict[str, Any]:
    """Return the config of a regularizer or a constraint; L1 and L2 become L1L2."""
    kind, own = value["class_name"], {k: v for k, v in value["config"].items() if k != "dtype"}
    if kind in ("L1", "L2"):
        return {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.0, **own}}
    return {"class_name": kind, "config": own}
