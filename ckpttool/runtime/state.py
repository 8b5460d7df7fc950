"""State: the variables of a running graph, owned by us, filled from a checkpoint and read back from it."""

from collections.abc import Iterable, Mapping
from typing import Any

from ckpttool.errors import PlanError
from ckpttool.graph.variables import Variable
from ckpttool.runtime.tensorflow import tensorflow
from ckpttool.tensors import Array, Tensor


class State:
    """Resource variables by the name of the op that they stand for; a graph is a function of them."""

    def __init__(self, variables: Iterable[Variable], values: Mapping[str, Tensor]) -> None:
        """Make one variable for each of the graph's, with its value from `values` (by checkpoint name).

        Raises:
            PlanError: a variable has no value, or one of another shape.
        """
        tf = tensorflow()
        self.described = list(variables)
        self.handles: dict[str, Any] = {}
        with tf.init_scope():
            for variable in self.described:
                array = initial_value(variable, values)
                self.handles[variable.op] = tf.Variable(array, trainable=False, dtype=variable.dtype.name)

    def read(self) -> dict[str, Array]:
        """Return every variable's present value under its checkpoint name."""
        return {variable.name: self.handles[variable.op].numpy() for variable in self.described}

    def write(self, values: Mapping[str, Array]) -> None:
        """Put values back, by checkpoint name."""
        for variable in self.described:
            self.handles[variable.op].assign(values[variable.name])


def initial_value(variable: Variable, values: Mapping[str, Tensor]) -> Array:
    """Return a variable's value; a variable that is one slice of a stored tensor gets its part.

    Raises:
        PlanError: there is no value, or its shape differs.
    """
    if variable.name not in values:
        raise PlanError(f"no value for the variable {variable.name}: the checkpoint does not have it")
    array = values[variable.name].read()
    if variable.slice_offset is not None and variable.shape is not None and array.shape != variable.shape:
        window = zip(variable.slice_offset, variable.shape, strict=True)
        array = array[tuple(slice(start, start + size) for start, size in window)]
    if variable.shape is not None and array.shape != variable.shape:
        found, expected = list(array.shape), list(variable.shape)
        raise PlanError(f"{variable.name} is {found} in the checkpoint, {expected} in the graph")
    return array
