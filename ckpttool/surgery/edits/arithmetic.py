"""Elementwise arithmetic edits: scaling and clamping."""

from abc import abstractmethod
from dataclasses import dataclass
from math import inf, isnan
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.edits.edit import Edit, changed, number, split_value, taken_numbers


class _OfEachNumber(Edit):
    """An elementwise edit, computed in float64 and rounded once to the tensor's dtype."""

    pattern: str
    slots: bool

    @property
    @abstractmethod
    def done(self) -> str:
        """The participle of the edit, for error messages."""

    @abstractmethod
    def of(self, values: Array) -> Array:
        """Return the results for numbers in float64."""

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors computed.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor does not contain numbers.
        """
        return changed(ckpt, taken_numbers(ckpt, self.pattern, self.slots, self.done), self._computed)

    def _computed(self, tensor: Tensor) -> Tensor:
        from ckpttool.core.casting import cast_array, elementwise

        return elementwise(
            tensor, tensor.dtype, lambda values: cast_array(tensor.name, self.of(values.astype("f8")), tensor.dtype)
        )


@dataclass(frozen=True)
class Scale(_OfEachNumber):
    """Multiply by a factor.

    Optimizer slots are unchanged without `slots`.

    >>> import numpy as np
    >>> Scale.parse("fc=0.5").apply(Checkpoint.of({"fc/kernel": np.array([1.0, -3.0])}))["fc/kernel"].read().tolist()
    [0.5, -1.5]
    """

    name: ClassVar[str] = "scale"
    notation: ClassVar[str] = "RE=FACTOR"
    done: ClassVar[str] = "scaled"
    pattern: str
    factor: float
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=0.5`."""
        pattern, factor = split_value(text, "'RE=0.5'")
        return cls(pattern, float(number(factor)))

    def __post_init__(self) -> None:
        """Check that the factor is finite."""
        if not abs(self.factor) < inf:
            raise PlanError(f"{self.factor} is not a factor, expected a finite number")

    def of(self, values: Array) -> Array:
        """Return products."""
        product: Array = values * self.factor
        return product


@dataclass(frozen=True)
class Clamp(_OfEachNumber):
    """Clip to two bounds; `-inf` or `inf` omits one.

    NaN is unchanged.

    >>> import numpy as np
    >>> Clamp.parse("fc=-1,inf").apply(Checkpoint.of({"fc/kernel": np.array([1.0, -3.0])}))["fc/kernel"].read().tolist()
    [1.0, -1.0]
    """

    name: ClassVar[str] = "clamp"
    notation: ClassVar[str] = "RE=LOW,HIGH"
    done: ClassVar[str] = "clamped"
    pattern: str
    low: float
    high: float
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=-1,1`."""
        pattern, bounds = split_value(text, "'RE=-1,1'")
        low, comma, high = bounds.partition(",")
        if not comma:
            raise PlanError("expected 'RE=-1,1'")
        return cls(pattern, float(number(low)), float(number(high)))

    def __post_init__(self) -> None:
        """Check that the bounds are in order."""
        if isnan(self.low) or isnan(self.high) or self.low > self.high:
            raise PlanError(f"no number is between {self.low:g} and {self.high:g}")

    def of(self, values: Array) -> Array:
        """Return clipped numbers."""
        return values.clip(self.low, self.high)
