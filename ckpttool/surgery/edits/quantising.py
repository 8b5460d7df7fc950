"""Quantising weights: half as many bytes as floats of 16 bits, a quarter as integers of 8 bits with a scale."""

from functools import cache

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import arrays, cast_tensor, elementwise
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.core.tensors import BY_NAME, Array, Tensor, TensorSpec
from ckpttool.surgery.edits.taking import quantised, require_numbers, scale_of, taken
from ckpttool.surgery.edits.values import cast, floats

QUANTISED = ("float16", "bfloat16", "int8")
LARGEST = 127
MOST = float(np.finfo(np.float32).max)


def quantise(ckpt: Checkpoint, dtype: str, pattern: str | None = None, slots: bool = False) -> Checkpoint:
    """Store weights in fewer bits: float16, bfloat16, or int8 with a scale.

    `int8` is symmetric, a scale to a tensor: the largest magnitude over 127, kept as the float32 NAME/scale. NAME times
    NAME/scale is the value again, to within half a scale. Without a pattern it takes the floats of two or more
    dimensions: kernels, not biases. The others are casts of the floats.

    >>> after = quantise(Checkpoint.of({"fc/kernel": np.array([[-1.0, 0.5]], np.float32)}), "int8")
    >>> after["fc/kernel"].read().tolist(), str(after["fc/kernel"].dtype), after["fc/kernel/scale"].shape
    ([[-127, 64]], 'int8', ())

    Raises:
        UnknownName: nothing is taken, or nothing is quantised to the dtype.
        PlanError: there is a tensor of the scale's name, or one that is taken holds no numbers.
        CkptError: on reading, a value is not finite, or does not fit.
    """
    if dtype not in QUANTISED:
        raise UnknownName(f"nothing is quantised to {dtype!r}; there are {', '.join(QUANTISED)}")
    if dtype != "int8":
        return cast(ckpt, dtype, pattern, slots)
    names = set(_kernels(ckpt, slots) if pattern is None else taken(ckpt, pattern, slots))
    tensors: dict[str, Tensor] = {}
    for name, tensor in ckpt.items():
        tensors |= _quantised(ckpt, tensor) if name in names else {name: tensor}
    return ckpt.holding(tensors)


def dequantise(ckpt: Checkpoint, dtype: str, pattern: str | None = None) -> Checkpoint:
    """Make floats of tensors that `quantise` made int8, and leave out their scales.

    >>> before = quantise(Checkpoint.of({"fc/kernel": np.array([[-1.0, 0.5]], np.float32)}), "int8")
    >>> {name: tensor.read().round(2).tolist() for name, tensor in dequantise(before, "float32").items()}
    {'fc/kernel': [[-1.0, 0.5]]}

    Raises:
        UnknownName: no tensor that is taken is an int8 with a scale.
        CkptError: nothing can be cast to the dtype.
    """
    if dtype not in BY_NAME:
        raise CkptError(f"no dtype is named {dtype!r}{suggestion(dtype, BY_NAME)}")
    known = set(quantised(ckpt))
    names = [name for name in taken(ckpt, pattern, slots=True) if name in known]
    if not names:
        raise UnknownName(f"no tensor{f' that {pattern!r} takes' if pattern else ''} is an int8 with a scale")
    gone = {scale_of(name) for name in names}
    new = {name: cast_tensor(_floats(ckpt[name], ckpt[scale_of(name)]), BY_NAME[dtype]) for name in names}
    return ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items() if name not in gone})


def _kernels(ckpt: Checkpoint, slots: bool) -> list[str]:
    names = [name for name in floats(ckpt, slots) if len(ckpt[name].shape) > 1]
    if not names:
        raise UnknownName("there are no weights of floats with two or more dimensions; PATTERN=int8 takes others")
    return names


def _quantised(ckpt: Checkpoint, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor as integers, with its scale, which is computed once and when either is read."""
    require_numbers(tensor, "quantised")
    name = scale_of(tensor.name)
    if name in ckpt or name in ckpt.origins.values():
        raise PlanError(f"{tensor.name} needs a scale, and there is a tensor named {name}")
    scale = cache(lambda: _scale(tensor))
    integers = elementwise(tensor, BY_NAME["int8"], lambda values: _integers(values, scale()))
    spec = TensorSpec(name, (), BY_NAME["float32"])
    return {tensor.name: integers, name: Tensor(spec, lambda: np.asarray(scale()))}


def _scale(tensor: Tensor) -> np.float32:
    """Return the scale of a tensor; 1 where all is zero.

    Raises:
        CkptError: a value is not finite, or does not fit into a float32.
    """
    largest = np.max([np.abs(values.astype(np.float64)).max(initial=0) for values in arrays(tensor)], initial=0)
    if not largest <= MOST:
        raise CkptError(f"{tensor.name} has values that are not finite, or too large: it has no scale as int8")
    scale = np.float32(largest / LARGEST)
    if float(scale) * LARGEST > MOST:  # rounded up, it would give back an infinity
        scale = np.nextafter(scale, np.float32(0))
    return scale or np.float32(1)


def _integers(values: Array, scale: np.float32) -> Array:
    """Return the nearest multiples of a scale; the smallest scales are rounded so much that some would be too large."""
    return np.rint(values.astype(np.float64) / scale).clip(-LARGEST, LARGEST).astype(np.int8)


def _floats(tensor: Tensor, scale: Tensor) -> Tensor:
    factor = cache(lambda: np.float32(scale.read()))
    return elementwise(tensor, BY_NAME["float32"], lambda values: values.astype(np.float32) * factor())
