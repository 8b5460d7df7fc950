"""New variables: replaces ops without inputs by variables with initialisers, and adds a saver to the graph."""

from collections.abc import Sequence
from dataclasses import dataclass

from ckpttool.core.dtypes import DType
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.prune import UPDATE_OPS
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver


@dataclass(frozen=True)
class NewVariable:
    """A variable to add to a graph: its name, and the op that it replaces.

    `initial` are the ops that compute its initial value; the last of them returns it, and its name is in the
    variable's scope. `moved` is the tensor that a training step assigns to it, as for moving averages.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: DType
    trainable: bool
    initial: Sequence[NodeDef]
    moved: TensorRef | None = None


def with_new_variables(graph: Graph, new: Sequence[NewVariable]) -> Graph:
    """Return a graph with resource variables instead of ops, and with a saver of all its variables.

    Raises:
        GraphError: two ops would have the same name.
    """
    draft, names = Draft(graph), FreeNames([*graph.nodes, *(each.name for each in new)])
    moved: dict[TensorRef, TensorRef] = {}
    for each in new:
        if each.name != each.op:
            moved[TensorRef(each.op, 0)] = TensorRef(each.name, 0)
            del draft.nodes[each.op]
        assign = _assigning(each, each.initial[-1].name, names.free(f"{each.name}/Assign"))
        read = _read(graph, each)
        draft.nodes[each.name] = _variable(each)
        draft.add(*each.initial, assign, *([] if read in graph.nodes else [_identity(read, each)]))
        entry = VariableDef(
            variable_name=f"{each.name}:0",
            initializer_name=assign.name,
            initial_value_name=f"{each.initial[-1].name}:0",
            snapshot_name=f"{read}:0",
            trainable=each.trainable,
        )
        if each.moved is not None:
            move = names.free(f"{each.name}/AssignMovingAvg")
            draft.add(_assigning(each, str(each.moved), move))
            draft.header.collection_def[UPDATE_OPS].node_list.value.append(move)
        for key in ("variables", "trainable_variables") if each.trainable else ("variables",):
            draft.header.collection_def[key].bytes_list.value.append(entry.SerializeToString())
    draft.redirect(moved)
    return with_saver(to_resource(draft.sealed()))


def _variable(new: NewVariable) -> NodeDef:
    variable = NodeDef(name=new.name, op="VariableV2")
    variable.attr["dtype"].CopyFrom(type_attr(new.dtype.number))
    variable.attr["shape"].shape.SetInParent()
    for size in new.shape:
        variable.attr["shape"].shape.dim.add(size=size)
    for key in ("container", "shared_name"):
        variable.attr[key].s = b""
    return variable


def _assigning(new: NewVariable, value: str, name: str) -> NodeDef:
    assign = NodeDef(name=name, op="Assign", input=[new.name, value])
    assign.attr["T"].CopyFrom(type_attr(new.dtype.number))
    for key in ("use_locking", "validate_shape"):
        assign.attr[key].b = True
    return assign


def _read(graph: Graph, new: NewVariable) -> str:
    """Return the name of the op that reads a variable: an existing Identity of the replaced op, else a new one."""
    reads = [reader for reader in graph.consumers.get(new.op, []) if graph.nodes[reader].op == "Identity"]
    return next(iter(reads), f"{new.name}/read")


def _identity(name: str, new: NewVariable) -> NodeDef:
    node = NodeDef(name=name, op="Identity", input=[new.name])
    node.attr["T"].CopyFrom(type_attr(new.dtype.number))
    return node
