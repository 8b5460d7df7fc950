"""State: the variables of a running graph, owned by us, filled from a checkpoint and read back from it."""

from collections.abc import Iterable, Mapping
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.graph.contents.stored import window
from ckpttool.graph.contents.variables import Variable
from ckpttool.runtime.configure import tensorflow


class State:
    """Resource variables by the name of the op that they stand for; a graph is a function of them."""

    def __init__(self, variables: Iterable[Variable], values: Mapping[str, Tensor]) -> None:
        """Make one variable for each of the graph's, with its value from `values` (by checkpoint name).

        Raises:
            PlanError: a variable has no value, or one of another shape.
        """
        tf = tensorflow()
        self.handles: dict[str, Any] = {}
        with tf.init_scope():
            for variable in variables:
                array = initial_value(variable, values)
                self.handles[variable.op] = tf.Variable(array, trainable=False, dtype=variable.dtype.name)

    def read(self) -> dict[str, Array]:
        """Return the present values by op name."""
        return {op: handle.numpy() for op, handle in self.handles.items()}

    def write(self, values: Mapping[str, Array]) -> None:
        """Set variables by op name; the others stay as they are."""
        for op, value in values.items():
            self.handles[op].assign(value)


def initial_value(variable: Variable, values: Mapping[str, Tensor]) -> Array:
    """Return a variable's value; a variable that is one slice of a stored tensor gets its part.

    Raises:
        PlanError: there is no value, or its shape differs.
    """
    if variable.name not in values:
        raise PlanError(f"no value for the variable {variable.name}: the checkpoint does not have it")
    array = values[variable.name].read()[window(variable)]
    if variable.shape is not None and array.shape != variable.shape:
        found, expected = list(array.shape), list(variable.shape)
        raise PlanError(f"{variable.name} is {found} in the checkpoint, {expected} in the graph")
    return array
