"""State: the variables of a running graph, which we own; their values come from a checkpoint or from initialisers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.graph.contents.initialisers import initial_value_of
from ckpttool.graph.contents.stored import stored_tensors, window
from ckpttool.graph.contents.variable_ops import is_variable
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.gate import require_computing
from ckpttool.graph.rewrite.constant_variables import constant_variables
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.importable import importable_part
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.registered import require_registered


class State:
    """Resource variables by the name of the op that they replace; a graph is run as a function of them."""

    def __init__(self, variables: Iterable[Variable], values: Mapping[str, Tensor]) -> None:
        """Create a variable for each of the graph's, with its value from `values` (by checkpoint name).

        Raises:
            PlanError: a variable has no value, or one of another shape.
        """
        tf = tensorflow()
        self.handles: dict[str, Any] = {}
        with tf.init_scope():
            for variable in variables:
                array = initial_value(variable, values)
                self.handles[variable.op] = tf.Variable(array, trainable=False, dtype=variable.dtype.name)

    def with_others(self, others: Mapping[str, str]) -> "State":
        """Return a state in which some ops read the variables of others; `others` maps an op to that other op."""
        state = copy(self)
        state.handles = {op: self.handles[others.get(op, op)] for op in self.handles}
        return state

    def read(self) -> dict[str, Array]:
        """Return the current values by op name."""
        return {op: handle.numpy() for op, handle in self.handles.items()}

    def write(self, values: Mapping[str, Array]) -> None:
        """Set variables by op name; the others are unchanged."""
        for op, value in values.items():
            self.handles[op].assign(value)


def initial_value(variable: Variable, values: Mapping[str, Tensor]) -> Array:
    """Return a variable's value; a variable that is a slice of a stored tensor gets that slice.

    Raises:
        PlanError: there is no value, or its shape differs.
    """
    if variable.name not in values:
        own = f"{variable.own_name}, which is {variable.name} in the Saver"
        called = variable.name if variable.own_name == variable.name else own
        raise PlanError(f"no value for the variable {called}: the checkpoint does not have it")
    array = values[variable.name].read()[window(variable)]
    if variable.shape is not None and array.shape != variable.shape:
        shapes = f"{list(array.shape)} in the checkpoint, {list(variable.shape)} in the graph"
        raise PlanError(f"{variable.name} is {shapes}")
    return array


def fresh_tensors(
    graph: Graph, names: Collection[str], seed: int, known: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Run the initialisers of the named tensors of a graph's checkpoint, and return their values.

    The seeds of random initialisers are derived from `seed`, even if they have one of their own: a graph that was built
    with a seed would otherwise ignore it. An initialiser that reads other variables, such as that of
    a moving average, gets their `known` values (by checkpoint name), else those of their own initialisers.
    Without names, TensorFlow is not imported.

    Raises:
        GraphError: a variable has no initialiser, or one with an op that can have side effects or reads a file.
    """
    wanted = {name: stored for name, stored in stored_tensors(graph).items() if name in names}
    if not wanted:
        return {}
    values = _Initializers(graph, seed, known or {}).values([m.op for each in wanted.values() for m in each.members])
    return {name: Tensor.of(name, stored.joined(values), stored.dtype) for name, stored in wanted.items()}


class _Initializers:
    """The initialisers of a graph's variables, each run after those that it depends on."""

    def __init__(self, graph: Graph, seed: int, known: Mapping[str, Tensor]) -> None:
        self.graph, self.seed, self.known = graph, seed, known
        self.variables = {variable.op: variable for variable in variables(graph).values()}

    def values(self, wanted: Collection[str]) -> dict[str, Array]:
        """Return the initial values of some variables, by their ops.

        Raises:
            GraphError: one has no initialiser, or initialisers depend on each other in a cycle.
        """
        needed = {op: self._reads(op) for op in wanted}
        while more := {op for read in needed.values() for op in read if op not in needed and not self._is_known(op)}:
            needed |= {op: self._reads(op) for op in more}
        given = {op: self._given(op) for read in needed.values() for op in read if op not in needed}
        values: dict[str, Array] = {}
        while left := [op for op in needed if op not in values]:
            ready = [op for op in left if needed[op] <= values.keys() | given.keys()]
            if not ready:
                raise GraphError(f"{self.graph.source}: the initialisers of {', '.join(left)} need one another")
            values |= self._run(ready, {**given, **values})
        return values

    def _initial(self, op: str) -> str:
        initial = initial_value_of(self.graph, self.variables[op]) if op in self.variables else None
        if initial is None:
            raise GraphError(f"{self.graph.source}: {op} has no initialiser, so it cannot start fresh")
        return initial

    def _reads(self, op: str) -> set[str]:
        """Return the variables that an initialiser reads."""
        below = self.graph.ancestors(TensorRef.parse(self._initial(op)).op)
        return {name for name in below if is_variable(self.graph.nodes[name])}

    def _is_known(self, op: str) -> bool:
        return op in self.variables and self.variables[op].name in self.known

    def _given(self, op: str) -> Array:
        return initial_value(self.variables[op], self.known)

    def _run(self, ops: Sequence[str], values: Mapping[str, Array]) -> dict[str, Array]:
        tf = tensorflow()
        tf1 = tf.compat.v1
        wanted = {op: self._initial(op) for op in ops}
        tensors = list(dict.fromkeys(wanted.values()))
        part = _fed_with_variables(importable_part(self.graph, tensors))
        require_registered(part)
        require_computing(part)
        with running(self.graph.source), tf1.Graph().as_default(), tf1.Session() as session:
            definition = tf1.GraphDef.FromString(part.meta.graph_def.SerializeToString())
            _seed_random_ops(definition, self.seed)
            made = tf.graph_util.import_graph_def(definition, return_elements=tensors, name="")
            feeds = {f"{op}:0": value for op, value in values.items() if op in part.nodes}
            arrays = dict(zip(tensors, session.run(made, feeds), strict=True))
        return {op: arrays[tensor] for op, tensor in wanted.items()}


def _fed_with_variables(part: Graph) -> Graph:
    """Return a part with its variables replaced by placeholders."""
    held = [name for name, node in part.nodes.items() if is_variable(node)]
    if not held:
        return part
    draft = Draft(constant_variables(to_resource(part)))
    for name in held:
        node = draft.op(name)
        shape = node.attr["value"].tensor.tensor_shape
        node.op = "Placeholder"
        node.attr["shape"].shape.CopyFrom(shape)
        del node.attr["value"]
    return draft.sealed()


def _seed_random_ops(definition: Any, seed: int) -> None:
    """Set the seed of each random op, in place, from `seed` and the op's position."""
    for place, node in enumerate(definition.node):
        if "seed" in node.attr and "seed2" in node.attr:
            node.attr["seed"].i, node.attr["seed2"].i = seed, place + 1
