"""Constants: what layers hold as tensors outside of any graph, for as long as a graph is built with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.keras.private.walking import layers_within, parts_of


@contextmanager
def constants_held(model: Any) -> Iterator[None]:
    """Let the layers hold constants of the graph that is built, for the tensors that they hold outside of any graph."""
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
    """Return a constant of the graph that is built for a tensor outside of any graph; anything else as it is."""
    return tensorflow().constant(value.numpy(), value.dtype) if _is_eager(value) else value
