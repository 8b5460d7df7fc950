"""Methods of merging models that share names: one file each, and a table of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging.choices import Choices
from ckpttool.surgery.merging.dare import dare
from ckpttool.surgery.merging.linear import linear
from ckpttool.surgery.merging.slerp import slerp
from ckpttool.surgery.merging.ties import ties


@dataclass(frozen=True)
class Method:
    """A method: what makes one tensor of several, the options that mean something to it, how many sources it takes."""

    merge: Callable[[Sequence[Tensor], Any, Choices], Tensor]
    heeds: tuple[str, ...]
    sources: int | None = None


METHODS = {
    "linear": Method(linear, ("weights",)),
    "slerp": Method(slerp, ("t",), sources=2),
    "ties": Method(ties, ("base", "weights", "density")),
    "dare": Method(dare, ("base", "weights", "density", "seed")),
}
"""The methods by the names that `how` takes."""
