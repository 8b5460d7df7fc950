"""Keras optimizers without `fit`: creates their variables, and finds the slots of the trained variables."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.private.building import variables_without_values


def build_optimizer(optimizer: Any, variables: Sequence[Any]) -> None:
    """Create an optimizer's variables for those of a model, without values if possible.

    Needs `Optimizer._var_key`, by which an optimizer identifies variables (by default, by the value), and Nadam to be
    the only one that creates a variable from a value.
    """
    optimizer._var_key = id
    with nullcontext() if isinstance(optimizer, keras().optimizers.Nadam) else variables_without_values():
        optimizer.build(list(variables))


def slots_of(optimizer: Any, name: str) -> Iterator[tuple[Any, Any]]:
    """Yield the variables that a built optimizer trains, each with its slot of the given name.

    Needs the attributes of Keras's optimizers, `_momentums` and others, and `Optimizer._trainable_variables`.
    """
    yield from zip(optimizer._trainable_variables, getattr(optimizer, name, None) or (), strict=False)
