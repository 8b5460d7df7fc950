"""State: the variables of a running graph, owned by us; their values, from a checkpoint or from initialisers."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.graph.contents.stored import stored_tensors, window
from ckpttool.graph.contents.variables import Variable
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import require_computing
from ckpttool.graph.rewrite.importable import importable_part
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.registered import require_registered


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
        own = f"{variable.own_name}, which is {variable.name} in the Saver"
        called = variable.name if variable.own_name == variable.name else own
        raise PlanError(f"no value for the variable {called}: the checkpoint does not have it")
    array = values[variable.name].read()[window(variable)]
    if variable.shape is not None and array.shape != variable.shape:
        shapes = f"{list(array.shape)} in the checkpoint, {list(variable.shape)} in the graph"
        raise PlanError(f"{variable.name} is {shapes}")
    return array


def fresh_tensors(graph: Graph, names: Collection[str], seed: int) -> dict[str, Tensor]:
    """Run the initialisers of the named tensors of a graph's checkpoint, and return what they give.

    Random initialisers get their seeds from `seed`, also those with one of their own: a graph that was built with a
    seed would else give the same values whatever is asked for. Without names TensorFlow is not needed.

    Raises:
        GraphError: a variable has no initialiser, or it needs an op that may do more than compute.
    """
    wanted = {name: stored for name, stored in stored_tensors(graph).items() if name in names}
    initial = {member.op: member.initial_value for stored in wanted.values() for member in stored.members}
    for op, tensor in initial.items():
        if tensor is None:
            raise GraphError(f"{graph.source}: {op} has no initialiser, so it cannot start fresh")
    values = _run_initializers(graph, {op: str(tensor) for op, tensor in initial.items()}, seed) if wanted else {}
    return {name: Tensor.of(name, stored.joined(values), stored.dtype) for name, stored in wanted.items()}


def _run_initializers(graph: Graph, wanted: Mapping[str, str], seed: int) -> dict[str, Array]:
    tf = tensorflow()
    tf1 = tf.compat.v1
    tensors = list(dict.fromkeys(wanted.values()))
    part = importable_part(graph, tensors)
    require_registered(part)
    require_computing(part)
    with running(graph.source), tf1.Graph().as_default(), tf1.Session() as session:
        definition = tf1.GraphDef.FromString(part.meta.graph_def.SerializeToString())
        _seed_random_ops(definition, seed)
        arrays = session.run(tf.graph_util.import_graph_def(definition, return_elements=tensors, name=""))
    values = dict(zip(tensors, arrays, strict=True))
    return {name: values[tensor] for name, tensor in wanted.items()}


def _seed_random_ops(definition: Any, seed: int) -> None:
    """Give each random op a seed that follows from `seed` and the op's place, in place."""
    for place, node in enumerate(definition.node):
        if "seed" in node.attr and "seed2" in node.attr:
            node.attr["seed"].i, node.attr["seed2"].i = seed, place + 1
