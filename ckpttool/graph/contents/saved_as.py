"""What the variables of a TensorFlow 2 graph are named in its checkpoint, which need not be what the graph calls them.

There a saver is a function: it takes the handles of variables, reads keys of the object checkpoint and assigns. The
object graph beside the values says which name a key has. Variables that the saver does not know are not stored.
"""

from collections.abc import Container, Iterator, Mapping

from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.tensorflow.object_graph import ObjectGraph, graph_of
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import COPIES
from ckpttool.graph.rewrite.draft import Draft

_COPIES = frozenset({"Identity", "Cast", "Reshape"})


def restored_keys(graph: Graph) -> dict[str, str]:
    """Return the key of each variable op that the graph's saver restores, where the saver is a function; else none."""
    call = graph.nodes.get(TensorRef.parse(graph.header.saver_def.restore_op_name).op)
    name = call.attr["f"].func.name if call is not None and "f" in call.attr else None
    functions = (each for each in graph.header.graph_def.library.function if each.signature.name == name)
    function = next(functions, None)
    if call is None or function is None:
        return {}
    handles = dict(zip((a.name for a in function.signature.input_arg), graph.inputs(call.name), strict=False))
    return {handles[argument].op: key for argument, key in _assigned(function) if argument in handles}


def named_as_saved(graph: Graph, tensors: Mapping[str, Tensor]) -> Graph:
    """Return the graph with its variables under the names that they have in an object checkpoint (`shared_name`).

    Of a value that Keras 3 stores twice, the variable has the name that the graph's functions read.

    Raises:
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    keys = restored_keys(graph)
    if not keys or OBJECT_GRAPH not in tensors:
        return graph
    names = _names(graph_of(tensors, graph.source), set(keys.values()))
    draft = Draft(graph)
    for op, key in keys.items():
        if key in names:
            draft.op(op).attr["shared_name"].s = names[key].encode()
    return draft.sealed()


def _names(graph: ObjectGraph, restored: Container[str]) -> dict[str, str]:
    """Return the name of each key; the functions of a graph read the copies, so these change names with the others."""
    keys = graph.names()
    names = {key: name for name, key in keys.items()}
    for copy, name in graph.copies().items():
        if keys[copy] in restored:
            names[keys[copy]], names[keys[name]] = name, copy
    return names


def _assigned(function: FunctionDef) -> Iterator[tuple[str, str]]:
    """Yield the arguments that a function assigns tensors of a checkpoint to, and the keys of these."""
    nodes = {node.name: node for node in function.node_def}
    for node in nodes.values():
        if node.op == "AssignVariableOp" and (key := _key(nodes, node.input[1])) is not None:
            yield node.input[0], key


def _key(nodes: Mapping[str, NodeDef], value: str) -> str | None:
    """Return the key that a value is read from; in functions outputs are named `op:output:place`."""
    op, _, place = value.partition(":")
    while op in nodes and nodes[op].op in COPIES:
        op, _, place = nodes[op].input[0].partition(":")
    if op not in nodes or nodes[op].op != "RestoreV2":
        return None
    keys = nodes[nodes[op].input[1].partition(":")[0]].attr["value"].tensor.string_val
    position = int(place.rpartition(":")[2])
    return keys[position].decode("utf-8", "replace") if position < len(keys) else None
