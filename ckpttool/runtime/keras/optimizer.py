"""The state of a Keras optimizer, converted from the slots of the corresponding TensorFlow optimizer.

Both have the same updates, but different momentum: TensorFlow's is a sum of gradients, Keras's is the step.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.runtime.keras.private.building import initializer_of
from ckpttool.runtime.keras.private.optimizers import slots_of


class Slot(NamedTuple):
    """Keras's name for a TensorFlow slot, and whether it is a step, scaled by the rate, rather than a gradient."""

    name: str
    is_step: bool = False


SLOTS: Mapping[str, Mapping[str, Slot]] = {
    "SGD": {"Momentum": Slot("momentums", True)},
    "Adagrad": {"Adagrad": Slot("_accumulators")},
    "RMSprop": {"RMSProp": Slot("_velocities"), "RMSProp_1": Slot("_momentums")},
    "Adam": {"Adam": Slot("_momentums"), "Adam_1": Slot("_velocities")},
    "AdamW": {"Adam": Slot("_momentums"), "Adam_1": Slot("_velocities")},
    "Ftrl": {"Ftrl": Slot("_accumulators"), "Ftrl_1": Slot("_linears")},
}
"""The slots of TensorFlow's optimizers, below the variable's name, by Keras's class for the optimizer."""
CENTERED = {"RMSProp": Slot("_velocities"), "RMSProp_1": Slot("_average_gradients"), "RMSProp_2": Slot("_momentums")}
"""Those of a centered RMSProp."""


STEP = "global_step"


def optimizer_state(
    optimizer: Any, names: Mapping[int, str], tensors: Mapping[str, Tensor], slots: Mapping[str, tuple[str, str]]
) -> Iterator[Tensor]:
    """Yield the values of the variables of a built optimizer, in its order.

    A slot that is not in the graph has its initial value.

    Args:
        optimizer: Keras's optimizer.
        names: The names of the trained variables in the graph, by the identity of Keras's variable.
        tensors: The values of the graph.
        slots: The graph's slots: the variable and the slot name of each.
    """
    step = int(tensors[STEP].read()) if STEP in tensors else 0
    optimizer.iterations.assign(step)
    factor = -float(optimizer.learning_rate)
    kinds = CENTERED if getattr(optimizer, "centered", False) else SLOTS.get(type(optimizer).__name__, {})
    stored = {(owner, kinds[kind].name): (name, kinds[kind]) for name, (owner, kind) in slots.items() if kind in kinds}
    found: dict[int, Tensor] = {}
    for kind in kinds.values():
        for variable, slot in slots_of(optimizer, kind.name):
            if place := stored.get((names[id(variable)], kind.name)):
                found[id(slot)] = _scaled(tensors[place[0]], factor) if place[1].is_step else tensors[place[0]]
    for variable in optimizer.variables:
        if id(variable) in found:
            yield found[id(variable)]
        else:
            yield initial_value(variable)


def has_slots(optimizer: Any) -> bool:
    """Return whether a built optimizer has more state than the number of steps and its rate."""
    return any(variable.name not in ("iteration", "learning_rate") for variable in optimizer.variables)


def initial_value(variable: Any) -> Tensor:
    """Return the value of a variable; its initial value if it has none."""
    initializer = initializer_of(variable)
    spec = TensorSpec(variable.path, tuple(variable.shape), BY_NAME[variable.dtype])
    if initializer is None:
        return Tensor(spec, lambda: np.asarray(variable.numpy()))
    return Tensor(spec, lambda: np.asarray(initializer(variable.shape, dtype=variable.dtype)))


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    return Tensor(tensor.spec, lambda: tensor.read() * tensor.dtype.numpy.type(factor))
