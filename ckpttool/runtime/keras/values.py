"""What stands for the variables of a network while it is traced, and what the calls of its layers make of them."""

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
    """The tensors of one trace that stand for a network's variables, which are a graph's once it is built."""

    def __init__(self, model: KerasModel) -> None:
        """Put placeholders into the open graph for the values of the weights, and for what counts what is drawn."""
        self._weights = model.variables
        self._names = {id(variable): name for name, variable in model.variables.items()}
        self._first = {**_placeholders(model), **_drawn(model)}
        self._moved: dict[str, Any] = {}
        self._replaced: set[str] = set()

    def is_weight(self, variable: Any) -> bool:
        """Say whether a variable is one of the graph, as the state of a random generator is not."""
        return id(variable) in self._names

    def first(self, variable: Any) -> Any:
        """Return what a step begins with."""
        return self._first[id(variable)]

    def latest(self, variable: Any) -> Any:
        """Return what the calls so far have made of a variable."""
        return self._moved.get(self._names.get(id(variable), ""), self._first[id(variable)])

    def pairs(self, variables: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Return the variables with their latest values, as Keras takes them."""
        return [(each, self.latest(each)) for each in variables]

    def move(self, variable: Any, value: Any) -> None:
        """Let a step end with another value of a variable, as of an average."""
        self._moved[self._names[id(variable)]] = value

    def replace(self, variable: Any) -> None:
        """Take a trainable variable as frozen: its layer puts other values in its place by itself."""
        self._replaced.add(self._names[id(variable)])

    def new_variables(self) -> list[NewVariable]:
        """Return the variables that the placeholders stand for."""
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
    """Return what stands for a network's weights: placeholders that are imported, for to make each takes longer."""
    tf1 = tensorflow().compat.v1
    wanted = tf1.GraphDef()
    wanted.versions.producer = tf1.GRAPH_DEF_VERSION  # in old graphs a shape without dimensions is none
    for name, variable in model.variables.items():
        node = wanted.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tf1.as_dtype(variable.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf1.TensorShape(variable.shape).as_proto())
    made = tf1.import_graph_def(wanted, return_elements=[f"{name}:0" for name in model.variables], name="")
    return {id(variable): tensor for variable, tensor in zip(model.variables.values(), made, strict=True)}


def _drawn(model: KerasModel) -> Mapping[int, Any]:
    """Return what stands for the states of random generators: they do not count here, but draw at each step.

    Keras numbers generators through a process, not a network: they are named by their order in this one.
    """
    uniform, weights = tensorflow().compat.v1.random.uniform, {id(each) for each in model.variables.values()}
    return {
        id(each): uniform(each.shape, 0, np.iinfo(np.int32).max, each.dtype, name=f"seed_generator/{each.name}")
        for each in model.live.variables
        if id(each) not in weights
    }
