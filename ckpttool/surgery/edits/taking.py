"""Which tensors an edit takes, and what goes along with them."""

from collections.abc import Callable, Iterable

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH, base_name

AVERAGES = ("ExponentialMovingAverage", "average")
"""The slots that hold the variable's own values, averaged."""


def named(ckpt: Checkpoint) -> list[str]:
    """Return the names of all tensors but an object graph, which says where they belong and is no value."""
    return [name for name in ckpt if name != OBJECT_GRAPH]


def scale_of(name: str) -> str:
    """Return the name of the scale of a tensor that was quantised to integers."""
    return f"{name}/scale"


def quantised(ckpt: Checkpoint) -> list[str]:
    """Return the names of the integers that have a scale."""
    scales = {name for name, tensor in ckpt.items() if tensor.shape == ()}
    return [name for name, tensor in ckpt.items() if tensor.dtype.name == "int8" and scale_of(name) in scales]


def taken(ckpt: Checkpoint, pattern: str | None, slots: bool = False) -> list[str]:
    """Return the weights that a pattern takes, all without one; with `slots` slots and step counters too.

    The scale of integers is no weight of its own.

    Raises:
        UnknownName: the pattern takes none.
    """
    kind, scales = ckpt.kinds(), set(map(scale_of, quantised(ckpt)))
    names = [name for name in named(ckpt) if (slots or kind[name] == "weight") and name not in scales]
    return names if pattern is None else Pattern(pattern).select(names)


def owners(ckpt: Checkpoint) -> dict[str, str]:
    """Return the variable of each slot, by the names that both have in the file, whatever they are called here.

    >>> import numpy as np
    >>> owners(Checkpoint.of({"fc/kernel": np.zeros(2), "Adam/m/fc/kernel": np.zeros(2), "step": np.zeros(())}))
    {'Adam/m/fc/kernel': 'fc/kernel'}
    """
    here = {ckpt.origins.get(name, name): name for name in ckpt}
    slots = [name for name, kind in ckpt.kinds().items() if kind == "slot"]
    bases = {slot: base_name(ckpt.origins.get(slot, slot), here) for slot in slots}
    return {slot: here[base] for slot, base in bases.items() if base is not None}


def slots_in_shape(ckpt: Checkpoint, names: Iterable[str]) -> dict[str, str]:
    """Return the slots that change their shape with their variables, and whose each one is; a scalar stays.

    Raises:
        PlanError: one has another shape than its variable.
    """
    names = set(names)
    found = {slot: owner for slot, owner in owners(ckpt).items() if owner in names - {slot} and ckpt[slot].shape != ()}
    for slot, owner in found.items():
        if ckpt[slot].shape != ckpt[owner].shape:
            raise PlanError(
                f"{slot} is {list(ckpt[slot].shape)} and cannot go along with {owner}, which is "
                f"{list(ckpt[owner].shape)}; --drop-slots before this leaves it out"
            )
    return found


def changed(ckpt: Checkpoint, names: Iterable[str], change: Callable[[Tensor], Tensor]) -> Checkpoint:
    """Return a checkpoint in which some tensors are changed, and all keep their names."""
    new = {name: change(ckpt[name]) for name in names}
    return ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items()})


def is_average(slot: str) -> bool:
    """Say whether a slot holds averages of its variable's values."""
    return slot.rpartition("/")[2].startswith(AVERAGES)


def require_numbers(tensor: Tensor, what: str) -> None:
    """Check that a tensor holds integers or floats.

    Raises:
        PlanError: it does not; `what` cannot be done with it.
    """
    if not tensor.dtype.is_number:
        raise PlanError(f"{tensor.name} holds {tensor.dtype} elements, which cannot be {what}")
