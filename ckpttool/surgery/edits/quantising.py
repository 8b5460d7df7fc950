"""Quantising weights: half the size as 16-bit floats, a quarter as 8-bit integers with a scale."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.edits.edit import quantised, require_numbers, scale_of, taken
from ckpttool.surgery.edits.values import Cast, EditToDtype, floats

QUANTISED = ("float16", "bfloat16", "int8")
LARGEST = 127
MOST = float.fromhex("0x1.fffffep+127")
"""The largest float32."""


@dataclass(frozen=True)
class Quantise(EditToDtype):
    """float16, bfloat16, int8 with NAME/scale (kernels).

    `int8` is symmetric, with one scale per tensor: the largest magnitude divided by 127, stored as the float32
    NAME/scale. NAME times NAME/scale is the value, up to half a scale. Without a pattern, floats of two or more
    dimensions are quantised: kernels, but not biases. The other dtypes are casts.

    >>> import numpy as np
    >>> after = Quantise("int8").apply(Checkpoint.of({"fc/kernel": np.array([[-1.0, 0.5]], np.float32)}))
    >>> after["fc/kernel"].read().tolist(), str(after["fc/kernel"].dtype), after["fc/kernel/scale"].shape
    ([[-127, 64]], 'int8', ())
    """

    name: ClassVar[str] = "quantise"
    slots: bool = False

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the quantised weights.

        Raises:
            UnknownName: no tensor matches, or the dtype is not supported.
            PlanError: a tensor with the scale's name exists, or a matching tensor does not contain numbers.
            CkptError: on reading, a value is not finite, or too large.
        """
        if self.dtype not in QUANTISED:
            raise UnknownName(f"cannot quantise to {self.dtype!r}; known: {', '.join(QUANTISED)}")
        if self.dtype != "int8":
            return Cast(self.dtype, self.pattern, self.slots).apply(ckpt)
        if self.pattern is None:
            names = {name for name in floats(ckpt, self.slots) if len(ckpt[name].shape) > 1}
            if not names:
                raise UnknownName(
                    "there are no floating-point weights with two or more dimensions; PATTERN=int8 selects others"
                )
        else:
            names = set(taken(ckpt, self.pattern, self.slots))
        tensors: dict[str, Tensor] = {}
        for name, tensor in ckpt.items():
            tensors |= _quantised(ckpt, tensor) if name in names else {name: tensor}
        return ckpt.holding(tensors)


@dataclass(frozen=True)
class Dequantise(EditToDtype):
    """Convert int8 that quantise made back to floats.

    The scales are removed.

    >>> import numpy as np
    >>> before = Quantise("int8").apply(Checkpoint.of({"fc/kernel": np.array([[-1.0, 0.5]], np.float32)}))
    >>> {name: tensor.read().round(2).tolist() for name, tensor in Dequantise("float32").apply(before).items()}
    {'fc/kernel': [[-1.0, 0.5]]}
    """

    name: ClassVar[str] = "dequantise"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors as floats.

        Raises:
            UnknownName: no matching tensor is int8 with a scale.
            CkptError: the dtype does not exist.
        """
        from ckpttool.core.casting import cast_tensor

        if self.dtype not in BY_NAME:
            raise CkptError(f"no dtype is named {self.dtype!r}{suggestion(self.dtype, BY_NAME)}")
        known = set(quantised(ckpt))
        names = [name for name in taken(ckpt, self.pattern, slots=True) if name in known]
        if not names:
            which = f" that {self.pattern!r} matches" if self.pattern else ""
            raise UnknownName(f"no tensor{which} is int8 with a scale")
        gone = {scale_of(name) for name in names}
        new = {name: cast_tensor(_floats(ckpt[name], ckpt[scale_of(name)]), BY_NAME[self.dtype]) for name in names}
        return ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items() if name not in gone})


def _quantised(ckpt: Checkpoint, tensor: Tensor) -> dict[str, Tensor]:
    """Return a tensor as integers, and its scale, which is computed once, when either is read."""
    import numpy as np

    from ckpttool.core.casting import elementwise

    require_numbers(tensor, "quantised")
    name = scale_of(tensor.name)
    if name in ckpt or name in ckpt.origins.values():
        raise PlanError(f"{tensor.name} needs a scale, but there is already a tensor named {name}")
    scale = cache(lambda: _scale(tensor))

    def integers(values: Array) -> Array:
        # the smallest scales are rounded so much that some integers would exceed the range
        return np.rint(values.astype(np.float64) / np.float32(scale())).clip(-LARGEST, LARGEST).astype(np.int8)

    spec = TensorSpec(name, (), BY_NAME["float32"])
    return {
        tensor.name: elementwise(tensor, BY_NAME["int8"], integers),
        name: Tensor(spec, lambda: np.asarray(scale(), np.float32)),
    }


def _scale(tensor: Tensor) -> float:
    """Return the scale of a tensor, a float32; 1 if all elements are zero.

    Raises:
        CkptError: a value is not finite, or exceeds float32.
    """
    import numpy as np

    from ckpttool.core.casting import arrays

    largest = np.max([np.abs(values.astype(np.float64)).max(initial=0) for values in arrays(tensor)], initial=0)
    if not largest <= MOST:
        raise CkptError(f"{tensor.name} contains values that are not finite, or too large: no int8 scale exists")
    scale = np.float32(largest / LARGEST)
    if float(scale) * LARGEST > MOST:  # rounded up, it would result in infinities
        scale = np.nextafter(scale, np.float32(0))
    return float(scale) or 1.0


def _floats(tensor: Tensor, scale: Tensor) -> Tensor:
    import numpy as np

    from ckpttool.core.casting import elementwise

    factor = cache(lambda: np.float32(scale.read()))
    return elementwise(tensor, BY_NAME["float32"], lambda values: values.astype(np.float32) * factor())
