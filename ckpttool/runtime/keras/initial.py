"""Initial values of the variables of a Keras network: the ops of its initialisers, with seeds derived from a run's."""

import json
from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.graph.contents.constants import uniform
from ckpttool.runtime.configure import keras, tensorflow
from ckpttool.runtime.keras.private.building import initializer_of


class InitialOps:
    """The initial values of a network's variables; equal initialisers are built once, and copied."""

    def __init__(self) -> None:
        """Start without any ops."""
        self._drawn: dict[tuple[Any, ...], list[NodeDef]] = {}

    def of(self, name: str, variable: Any) -> list[NodeDef]:
        """Return the ops that compute the initial value of a variable; the last one outputs it."""
        scope, initializer = f"{name}/Initializer", initializer_of(variable)
        shape, value = tuple(variable.shape), _value_of(initializer)
        if value is not None:
            return [uniform(f"{scope}/value", shape, value, BY_NAME[variable.dtype])]
        key = (*_said_of(initializer), shape, variable.dtype)
        if key not in self._drawn:
            self._drawn[key] = list(_drawn(initializer, shape, variable.dtype))
        return [_in_scope(scope, node) for node in self._drawn[key]]


def _said_of(initializer: Any) -> tuple[Any, ...]:
    """Return a key that is equal for initialisers that differ only in their seeds; the default is the initialiser."""
    if not isinstance(initializer, keras().initializers.Initializer):
        return (initializer,)
    config = {key: value for key, value in initializer.get_config().items() if key != "seed"}
    try:
        return type(initializer), json.dumps(config, sort_keys=True)
    except TypeError:  # an argument is an array
        return (initializer,)


def _in_scope(scope: str, node: NodeDef) -> NodeDef:
    copied = NodeDef()
    copied.CopyFrom(node)
    copied.name = f"{scope}/{node.name}"
    copied.input[:] = [f"^{scope}/{each[1:]}" if each.startswith("^") else f"{scope}/{each}" for each in node.input]
    return copied


def _value_of(initializer: Any) -> float | None:
    """Return the number to which an initialiser sets all elements; None if they differ."""
    initializers = keras().initializers
    if isinstance(initializer, initializers.Constant):
        return float(initializer.value) if np.ndim(initializer.value) == 0 else None
    if isinstance(initializer, initializers.Zeros | initializers.Ones):
        return float(isinstance(initializer, initializers.Ones))
    return None


def _drawn(initializer: Any, shape: tuple[int, ...], dtype: str) -> Iterator[NodeDef]:
    tf1 = tensorflow().compat.v1
    graph = tf1.Graph()
    with graph.as_default():
        tf1.identity(_seeded(initializer)(shape, dtype=dtype), name="value")
    yield from GraphDef.FromString(graph.as_graph_def().SerializeToString()).node


def _seeded(initializer: Any) -> Any:
    """Return an initialiser whose seed, if it has one, is drawn by an op, so that it depends on the run's seed."""
    if not hasattr(initializer, "seed"):
        return initializer
    seeded = copy(initializer)
    seeded.seed = drawn_seeds()
    return seeded


def drawn_seeds() -> Any:
    """Return a stateless Keras generator whose seeds are drawn by random ops of the graph."""

    class DrawnSeed(keras().random.SeedGenerator):  # type: ignore[misc]
        """A stateless generator whose seeds are drawn by a random op of the graph."""

        def __init__(self) -> None:
            """Create no variable."""

        def next(self, ordered: bool = True) -> Any:
            """Return a seed."""
            return tensorflow().random.uniform([2], 0, np.iinfo(np.int32).max, "int32", name="seed")

    return DrawnSeed()
