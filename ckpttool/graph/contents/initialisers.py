"""Initialisers: the tensor of a variable's initial value, and whether computing it reads a file."""

from ckpttool.core.errors import GraphError
from ckpttool.graph.contents.variables import Variable
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ASSIGNS, PLACEHOLDERS, RESTORES


def initial_value_of(graph: Graph, variable: Variable) -> str | None:
    """Return the tensor of a variable's initial value, computed without reading a file.

    `init_from_checkpoint` replaces a variable's initialiser by one that reads a file, which may no longer exist; the
    original one is still in the graph. If ops that read files are allowed, the file is read.

    Raises:
        GraphError: the value can only be read from a file.
    """
    file = initialising_file(graph, variable)
    if file is None or variable.initial_value is None or RESTORES & graph.allowed:
        return variable.initial_value
    others = [name for name in graph.consumers.get(variable.op, []) if graph.nodes[name].op in ASSIGNS]
    values = [str(graph.inputs(name)[1]) for name in others if graph.inputs(name)[0].op == variable.op]
    for value in values:
        below = graph.ancestors(TensorRef.parse(value).op)
        if not any(graph.nodes[op].op in RESTORES | PLACEHOLDERS for op in below):
            return value
    raise GraphError(
        f"{graph.source}: {variable.name} has no initialiser but one that reads the file {file}, so it cannot be "
        f"newly initialised: restore it too"
    )


def initialising_file(graph: Graph, variable: Variable) -> str | None:
    """Return the path of the file that a variable's initialiser reads, or None."""
    below = graph.ancestors(TensorRef.parse(variable.initial_value).op) if variable.initial_value else ()
    for name in below:
        if graph.nodes[name].op in RESTORES and graph.inputs(name):
            attributes = graph.nodes[graph.inputs(name)[0].op].attr
            texts = attributes["value"].tensor.string_val if "value" in attributes else ()
            return (texts[0] if texts else b"?").decode("utf-8", "replace")
    return None
