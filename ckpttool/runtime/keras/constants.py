"""Constants: replacements of the eager tensors of layers while a graph is built with these layers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.keras.private.walking import layers_within, parts_of


@contextmanager
def constants_held(model: Any) -> Iterator[None]:
    """Replace the eager tensors of layers by constants of the current graph, within this context."""
    held = {id(part): part for layer in layers_within(model) for part in parts_of(layer)}.values()
    eager = [(part, name, value) for part in held for name, value in vars(part).items() if _is_eager(value)]
    for part, name, value in eager:
        object.__setattr__(part, name, as_constant(value))
    try:
        yield
    finally:
        for part, name, value in eager:
            object.__setattr__(part, name, value)


def _is_eager(value: Any) -> bool:
    return isinstance(value, tensorflow().Tensor) and hasattr(value, "numpy")


def as_constant(value: Any) -> Any:
    """Return a constant of the current graph for an eager tensor; other values are returned unchanged."""
    return tensorflow().constant(value.numpy(), value.dtype) if _is_eager(value) else value
