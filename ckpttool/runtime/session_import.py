"""Loading of foreign weights into a live TensorFlow 1 session, in the two ways of chapter 11.2.2.

    session.run(init, feed_dict=feed_for_assigns(graph, weights))
    assign_with_placeholders(session, weights)

The first feeds the tensors that the variables' initialisers assign; the second adds its own assign ops. Names are those
of variables in a checkpoint (`hidden1/kernel`); values are arrays, tensors or nested lists of numbers.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array
from ckpttool.runtime.configure import tensorflow


def feed_for_assigns(graph: Any, weights: Mapping[str, Any]) -> dict[Any, Array]:
    """Return a feed_dict for running an initialiser op, from the tensor assigned to each variable to its value.

    Raises:
        UnknownName: a name is not that of a variable in the graph.
        GraphError: a variable has no assign node.
        PlanError: a shape or a dtype differs.
    """
    feeds = {}
    for name, variable in _variables(graph, weights).items():
        if variable.initializer is None or len(variable.initializer.inputs) < 2:
            raise GraphError(f"variable {variable.op.name} has no assign node")
        feeds[variable.initializer.inputs[1]] = _value(name, variable, weights[name])
    return feeds


def assign_with_placeholders(session: Any, weights: Mapping[str, Any]) -> None:
    """Assign values to variables by placeholders and assign ops, which are added to the session's graph.

    Raises:
        UnknownName: a name is not that of a variable in the graph.
        PlanError: a shape or a dtype differs.
    """
    tf1 = tensorflow().compat.v1
    variables = _variables(session.graph, weights)
    values = {name: _value(name, variable, weights[name]) for name, variable in variables.items()}
    with session.graph.as_default(), tf1.name_scope("import"):
        holders = {
            name: tf1.placeholder(variables[name].dtype.base_dtype, value.shape) for name, value in values.items()
        }
        assigns = [tf1.assign(variables[name], holder).op for name, holder in holders.items()]
    session.run(assigns, {holder: values[name] for name, holder in holders.items()})


def _variables(graph: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return variables of a graph by their names in a checkpoint.

    Raises:
        UnknownName: a variable does not exist.
    """
    collected = graph.get_collection(tensorflow().compat.v1.GraphKeys.GLOBAL_VARIABLES)
    variables = {variable.op.name: variable for variable in collected}
    for name in names:
        if name not in variables:
            raise UnknownName(f"the graph has no variable named {name}{suggestion(name, variables)}")
    return {name: variables[name] for name in names}


def _value(name: str, variable: Any, value: Any) -> Array:
    """Return a value as an array that fits a variable; lists are converted to its dtype, arrays must have it.

    Raises:
        PlanError: the shape or the dtype differs.
    """
    wanted = np.dtype(variable.dtype.base_dtype.as_numpy_dtype)
    array = np.asarray(value, None if hasattr(value, "dtype") else wanted)
    if not variable.shape.is_compatible_with(array.shape):
        raise PlanError(f"{name} is given as {list(array.shape)}, in the graph it is {variable.shape.as_list()}")
    if array.dtype != wanted:
        raise PlanError(f"{name} is given as {array.dtype}, in the graph it is {wanted}: cast it")
    return array
