"""Output shapes of Keras layers, computed from their configs and input shapes, without Keras.

The most common classes are supported.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from ckpttool.core.shapes import PartialShape
from ckpttool.formats.keras.connections import Config


def noted_shape(value: Any) -> PartialShape | None:
    """Return a shape from a config, in which None is an unknown size; None if the value is not a shape."""
    if not isinstance(value, list | tuple) or not all(size is None or type(size) is int for size in value):
        return None
    return tuple(value)


_Rule = Callable[[Config, PartialShape], PartialShape | None]


def given_shape(kind: str, own: Config, taken: Sequence[PartialShape | None]) -> PartialShape | None:
    """Return the output shape of a layer of a kind, given its config and input shapes; None if unknown."""
    if kind == "input_layer":
        return noted_shape(own.get("batch_shape") or own.get("batch_input_shape"))
    if not taken or taken[0] is None:
        return None
    if kind == "concatenate":
        return _joined(own, taken)
    rule = _RULES.get(kind)
    try:
        return None if rule is None else rule(own, taken[0])
    except (TypeError, IndexError, KeyError, ZeroDivisionError):  # a config that Keras would reject
        return None


def _same(own: Config, shape: PartialShape) -> PartialShape:
    return shape


def _dense(own: Config, shape: PartialShape) -> PartialShape:
    return (*shape[:-1], own["units"])


def _embedding(own: Config, shape: PartialShape) -> PartialShape:
    return (*shape, own["output_dim"])


def _recurrent(own: Config, shape: PartialShape) -> PartialShape:
    return (shape[0], *(shape[1:2] if own.get("return_sequences") else ()), own["units"])


def _flattened(own: Config, shape: PartialShape) -> PartialShape:
    sizes = [size for size in shape[1:] if size is not None]
    return (shape[0], prod(sizes) if len(sizes) == len(shape) - 1 else None)


def _reshaped(own: Config, shape: PartialShape) -> PartialShape:
    return (shape[0], *(None if size == -1 else size for size in own["target_shape"]))


def _pooled(own: Config, shape: PartialShape) -> PartialShape:
    channels, sizes = (shape[1], len(shape) - 2) if _channels_first(own) else (shape[-1], len(shape) - 2)
    kept = [1] * sizes if own.get("keepdims") else []
    return (shape[0], channels, *kept) if _channels_first(own) else (shape[0], *kept, channels)


def _convolved(own: Config, shape: PartialShape) -> PartialShape:
    sizes = _windows(own, _spatial(own, shape), own["kernel_size"], own.get("strides", 1), own.get("dilation_rate", 1))
    return _with_channels(own, shape, sizes, own["filters"])


def _depthwise(own: Config, shape: PartialShape) -> PartialShape:
    sizes = _windows(own, _spatial(own, shape), own["kernel_size"], own.get("strides", 1), own.get("dilation_rate", 1))
    channels = shape[1] if _channels_first(own) else shape[-1]
    return _with_channels(own, shape, sizes, None if channels is None else channels * own.get("depth_multiplier", 1))


def _windowed(own: Config, shape: PartialShape) -> PartialShape:
    sizes = _windows(own, _spatial(own, shape), own["pool_size"], own.get("strides") or own["pool_size"], 1)
    return _with_channels(own, shape, sizes, shape[1] if _channels_first(own) else shape[-1])


def _windows(own: Config, sizes: PartialShape, kernel: Any, strides: Any, dilation: Any) -> PartialShape:
    """Return the number of windows in each dimension."""

    def count(size: int | None, window: int, stride: int, wide: int) -> int | None:
        if size is None:
            return None
        return (
            -(-size // stride)
            if own.get("padding") in ("same", "causal")
            else (size - (window - 1) * wide - 1) // stride + 1
        )

    each = (value if isinstance(value, list | tuple) else [value] * len(sizes) for value in (kernel, strides, dilation))
    return tuple(count(*values) for values in zip(sizes, *each, strict=True))


def _channels_first(own: Config) -> bool:
    return own.get("data_format") == "channels_first"


def _spatial(own: Config, shape: PartialShape) -> PartialShape:
    return shape[2:] if _channels_first(own) else shape[1:-1]


def _with_channels(own: Config, shape: PartialShape, sizes: PartialShape, channels: int | None) -> PartialShape:
    return (shape[0], channels, *sizes) if _channels_first(own) else (shape[0], *sizes, channels)


def _joined(own: Config, taken: Sequence[PartialShape | None]) -> PartialShape | None:
    axis, first = own.get("axis", -1), taken[0]
    if first is None or any(shape is None or len(shape) != len(first) for shape in taken):
        return None
    along = [shape[axis] for shape in taken if shape is not None]
    sizes = list(first)
    sizes[axis] = None if None in along else sum(size for size in along if size is not None)
    return tuple(sizes)


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("batch_normalization", "layer_normalization", "group_normalization", "normalization"), _same),
    **dict.fromkeys(("activation", "re_lu", "leaky_re_lu", "elu", "softmax", "p_re_lu", "dropout", "rescaling"), _same),
    **dict.fromkeys(("gaussian_noise", "gaussian_dropout", "spatial_dropout1d", "spatial_dropout2d", "masking"), _same),
    **dict.fromkeys(("add", "multiply", "average", "maximum", "minimum", "subtract", "identity"), _same),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "separable_conv1d", "separable_conv2d"), _convolved),
    **dict.fromkeys(("depthwise_conv1d", "depthwise_conv2d"), _depthwise),
    **dict.fromkeys((f"{what}_pooling{rank}d" for what in ("max", "average") for rank in (1, 2, 3)), _windowed),
    **dict.fromkeys((f"global_{what}_pooling{rank}d" for what in ("max", "average") for rank in (1, 2, 3)), _pooled),
    **dict.fromkeys(("lstm", "gru", "simple_rnn"), _recurrent),
    "dense": _dense,
    "embedding": _embedding,
    "flatten": _flattened,
    "reshape": _reshaped,
}
