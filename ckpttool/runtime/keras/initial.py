"""What the variables of a Keras network start with: the ops of its initialisers, whose seeds follow from a run's."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import numpy as np

from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.graph.contents.constants import uniform
from ckpttool.runtime.configure import keras, tensorflow
from ckpttool.runtime.keras.private import initializer_of


def initial(name: str, variable: Any) -> list[NodeDef]:
    """Return the ops that compute what a variable starts with; the last of them gives it."""
    scope, initializer = f"{name}/Initializer", initializer_of(variable)
    value = _value_of(initializer)
    if value is not None:
        return [uniform(f"{scope}/value", tuple(variable.shape), value, BY_NAME[variable.dtype])]
    return list(_drawn(scope, initializer, variable))


def _value_of(initializer: Any) -> float | None:
    """Return the one number that an initialiser gives all elements, None where it does not."""
    initializers = keras().initializers
    if isinstance(initializer, initializers.Constant):
        return float(initializer.value) if np.ndim(initializer.value) == 0 else None
    if isinstance(initializer, initializers.Zeros | initializers.Ones):
        return float(isinstance(initializer, initializers.Ones))
    return None


def _drawn(scope: str, initializer: Any, variable: Any) -> Iterator[NodeDef]:
    tf1 = tensorflow().compat.v1
    graph = tf1.Graph()
    with graph.as_default(), tf1.name_scope(f"{scope}/"):
        tf1.identity(_seeded(initializer)(tuple(variable.shape), dtype=variable.dtype), name="value")
    yield from GraphDef.FromString(graph.as_graph_def().SerializeToString()).node


def _seeded(initializer: Any) -> Any:
    """Return an initialiser that draws its seed by an op, where it has one: what starts fresh follows from a run's."""
    if not hasattr(initializer, "seed"):
        return initializer
    seeded = copy(initializer)
    seeded.seed = drawn_seeds()
    return seeded


def drawn_seeds() -> Any:
    """Return a generator of Keras whose seeds random ops of the graph draw; it counts nothing."""

    class DrawnSeed(keras().random.SeedGenerator):  # type: ignore[misc]
        """A generator without a state, whose seeds a random op of the graph draws."""

        def __init__(self) -> None:
            """Make no variable."""

        def next(self, ordered: bool = True) -> Any:
            """Return a seed."""
            return tensorflow().random.uniform([2], 0, np.iinfo(np.int32).max, "int32", name="seed")

    return DrawnSeed()
