"""Optimizers of Keras without a `fit`: their variables are made, and told by what they are slots of."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.private.building import variables_without_values


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Make the variables of an optimizer for those of a model, neither with values where they can be without.

    Needs `Optimizer._var_key`, by which an optimizer knows a variable, otherwise by its value; and that Nadam alone
    makes a variable of a value.
    """
    optimizer._var_key = id
    with nullcontext() if isinstance(optimizer, keras().optimizers.Nadam) else variables_without_values():
        optimizer.build(list(variables))


def slots_of(optimizer: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the variables that a built optimizer trains, each with its slot of a name.

    Needs the attributes of Keras's optimizers, `_momentums` and others, and `Optimizer._trainable_variables`.
    """
    yield from zip(optimizer._trainable_variables, getattr(optimizer, name, None) or (), strict=False)
