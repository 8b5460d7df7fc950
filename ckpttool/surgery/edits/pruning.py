"""Pruning: the smallest numbers become zero."""

from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.calls import Call
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.edits.edit import Edit, changed, number, split_call, split_value, taken_numbers


@dataclass(frozen=True)
class Magnitude(Call):
    """A bound: smaller magnitudes are pruned."""

    name: ClassVar[str] = "magnitude"
    noun: ClassVar[str] = "bound"
    example: ClassVar[str] = "magnitude(1e-3)"
    bound: float


@dataclass(frozen=True)
class Prune(Edit):
    """Set the smallest numbers to zero: a fraction, or magnitude(BOUND).

    A fraction of each tensor's elements is pruned, or all with a magnitude below a bound. Of equal magnitudes, the
    first are pruned. NaN is not pruned.

    >>> import numpy as np
    >>> before = Checkpoint.of({"fc/kernel": np.array([0.1, -3.0, 0.5, -0.2])})
    >>> Prune("fc", share=0.5).apply(before)["fc/kernel"].read().tolist()
    [0.0, -3.0, 0.5, 0.0]
    >>> Prune("fc", below=0.2).apply(before)["fc/kernel"].read().tolist()
    [0.0, -3.0, 0.5, -0.2]
    >>> Prune.parse("hidden.* = magnitude(1e-3)").below
    0.001
    """

    name: ClassVar[str] = "prune"
    notation: ClassVar[str] = "RE=SHARE"
    pattern: str
    share: float | None = None
    below: float | None = None
    slots: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=0.5`, a fraction, or `RE=magnitude(1e-3)`, a bound."""
        if text.rstrip().endswith(")"):
            pattern, call = split_call(text, "RE = magnitude(1e-3)")
            return cls(pattern, below=Magnitude.read(call, "the call").bound)
        pattern, share = split_value(text, "RE=0.5")
        return cls(pattern, share=float(number(share)))

    def __post_init__(self) -> None:
        """Check that the fraction is between 0 and 1."""
        if self.share is not None and not 0 <= self.share <= 1:
            raise PlanError(f"{self.share:g} is not a fraction of elements, expected a number from 0 to 1")

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors pruned.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a tensor does not contain numbers.
        """
        return changed(ckpt, taken_numbers(ckpt, self.pattern, self.slots, "pruned"), self._pruned)

    def _pruned(self, tensor: Tensor) -> Tensor:
        from ckpttool.core.casting import elementwise

        if self.below is not None:
            below = self.below
            return elementwise(tensor, tensor.dtype, lambda values: _zeroed(values, _magnitudes(values) < below))
        count = int((self.share or 0.0) * tensor.spec.elements)
        return Tensor(tensor.spec, lambda: _without_smallest(tensor.read(), count)) if count else tensor


def _without_smallest(array: Array, count: int) -> Array:
    """Return an array with its `count` elements of the smallest magnitude set to zero."""
    import numpy as np

    magnitudes = _magnitudes(array).reshape(-1)
    bound = np.partition(magnitudes, count - 1)[count - 1]
    gone = magnitudes < bound
    equal = np.flatnonzero(magnitudes == bound)
    gone[equal[: count - np.count_nonzero(gone)]] = True
    return _zeroed(array, gone.reshape(array.shape))


def _zeroed(array: Array, gone: Array) -> Array:
    import numpy as np

    return np.where(gone, np.zeros((), array.dtype), array)


def _magnitudes(array: Array) -> Array:
    """Return magnitudes as float32 or float64, which sort fast and represent those of narrow floats and integers."""
    import numpy as np

    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float64 if array.dtype.itemsize >= 4 else np.float32)
    magnitudes: Array = np.abs(array)
    return magnitudes
