"""The tensors that replace the variables of a network while it is traced, and their updates by layer calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.graph.core import TensorRef
from ckpttool.graph.rewrite.new_variables import NewVariable
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.initial import InitialOps


class Values:
    """The tensors that replace a network's variables during a trace; later, variables of the graph replace these."""

    def __init__(self, model: KerasModel) -> None:
        """Add placeholders to the current graph for the values of weights, and for counters of random generators."""
        self._weights = model.variables
        self._names = {id(variable): name for name, variable in model.variables.items()}
        self._first = {**_placeholders(model), **_drawn(model)}
        self._moved: dict[str, Any] = {}
        self._replaced: set[str] = set()

    def is_weight(self, variable: Any) -> bool:
        """Return whether a variable is part of the graph, unlike the state of a random generator."""
        return id(variable) in self._names

    def first(self, variable: Any) -> Any:
        """Return the value of a variable at the start of a step."""
        return self._first[id(variable)]

    def latest(self, variable: Any) -> Any:
        """Return the value of a variable after the calls so far."""
        return self._moved.get(self._names.get(id(variable), ""), self._first[id(variable)])

    def pairs(self, variables: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the variables with their latest values, in Keras's form."""
        return [(each, self.latest(each)) for each in variables]

    def move(self, variable: Any, value: Any) -> None:
        """Set the value of a variable at the end of a step, such as that of an average."""
        self._moved[self._names[id(variable)]] = value

    def replace(self, variable: Any) -> None:
        """Treat a trainable variable as frozen, because its layer itself replaces its value."""
        self._replaced.add(self._names[id(variable)])

    def new_variables(self) -> list[NewVariable]:
        """Return new variables of the graph for the placeholders."""
        initial = InitialOps()
        return [
            NewVariable(
                name,
                name,
                tuple(variable.shape),
                BY_NAME[variable.dtype],
                variable.trainable and name not in self._replaced,
                initial.of(name, variable),
                TensorRef.parse(self._moved[name].name) if name in self._moved else None,
            )
            for name, variable in self._weights.items()
        ]


def _placeholders(model: KerasModel) -> Mapping[int, Any]:
    """Return placeholders for a network's weights, which are imported, since creating each one takes longer."""
    tf1 = tensorflow().compat.v1
    wanted = tf1.GraphDef()
    wanted.versions.producer = tf1.GRAPH_DEF_VERSION  # in old graphs, an empty shape means unknown
    for name, variable in model.variables.items():
        node = wanted.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tf1.as_dtype(variable.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf1.TensorShape(variable.shape).as_proto())
    made = tf1.import_graph_def(wanted, return_elements=[f"{name}:0" for name in model.variables], name="")
    return {id(variable): tensor for variable, tensor in zip(model.variables.values(), made, strict=True)}


def _drawn(model: KerasModel) -> Mapping[int, Any]:
    """Return replacements for the states of random generators, which draw a seed at each step instead of counting.

    Keras numbers generators by process, not by network: they are named by their order in this network.
    """
    uniform, weights = tensorflow().compat.v1.random.uniform, {id(each) for each in model.variables.values()}
    return {
        id(each): uniform(each.shape, 0, np.iinfo(np.int32).max, each.dtype, name=f"seed_generator/{each.name}")
        for each in model.live.variables
        if id(each) not in weights
    }
