"""A fresh saver: the ops that write variables to a checkpoint and read them back, named as TensorFlow names them."""

from collections.abc import Sequence

import numpy as np

from ckpttool.core.tensors import STRING
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SaverDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.savers import slice_text
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.editing import Draft, free_name, type_attr

_KEPT, _HOURS = 5, 10000.0
"""What `tf.compat.v1.train.Saver` has by default: checkpoints that are kept, hours between those kept for good."""


def with_saver(graph: Graph) -> Graph:
    """Return a graph that has lost its savers with one of its own, of every variable that its checkpoint holds."""
    members = list(variables(graph).values())
    scope = free_name("save", {name.partition("/")[0] for name in graph.nodes})
    draft = Draft(graph)
    draft.header.collection_def.pop("savers", None)
    draft.header.ClearField("saver_def")
    if members:
        draft.add(*_nodes(scope, members))
        draft.header.saver_def.CopyFrom(
            SaverDef(
                filename_tensor_name=f"{scope}/Const:0",
                save_tensor_name=f"{scope}/control_dependency:0",
                restore_op_name=f"{scope}/restore_all",
                max_to_keep=_KEPT,
                keep_checkpoint_every_n_hours=_HOURS,
                version=SaverDef.V2,
            )
        )
    return draft.sealed()


def _nodes(scope: str, members: Sequence[Variable]) -> list[NodeDef]:
    """Return the saver's ops: the file's name, the tensors' names, writing, reading, and an assign to each variable."""
    reads = {variable.op: _read(scope, variable) for variable in members if variable.resource}
    values = [reads[variable.op].name if variable.resource else variable.op for variable in members]
    assigns = [_assign(scope, variable, position) for position, variable in enumerate(members)]
    place = [f"{scope}/Const", f"{scope}/tensor_names", f"{scope}/shape_and_slices"]
    save = NodeDef(name=f"{scope}/SaveV2", op="SaveV2", input=[*place, *values])
    restore = NodeDef(name=f"{scope}/RestoreV2", op="RestoreV2", input=place)
    for node in (save, restore):
        node.attr["dtypes"].list.type.extend([variable.dtype.number for variable in members])  # type: ignore[misc]
    done = NodeDef(name=f"{scope}/control_dependency", op="Identity", input=[place[0], f"^{save.name}"])
    done.attr["T"].CopyFrom(type_attr(STRING.number))
    restore_all = NodeDef(name=f"{scope}/restore_all", op="NoOp", input=[f"^{node.name}" for node in assigns])
    texts = [variable.name for variable in members], [_slice(variable) for variable in members]
    names = [_strings(name, found) for name, found in zip(place[1:], texts, strict=True)]
    return [*_file(scope), *names, *reads.values(), save, done, restore, *assigns, restore_all]


def _file(scope: str) -> list[NodeDef]:
    """Return the placeholder that a checkpoint's prefix is fed to."""
    default = constant(f"{scope}/filename/input", np.array(b"model", object), STRING)
    place = NodeDef(name=f"{scope}/Const", op="PlaceholderWithDefault", input=[default.name])
    place.attr["dtype"].CopyFrom(type_attr(STRING.number))
    place.attr["shape"].shape.SetInParent()
    return [default, place]


def _strings(name: str, texts: Sequence[str]) -> NodeDef:
    return constant(name, np.array([text.encode() for text in texts], object), STRING)


def _slice(variable: Variable) -> str:
    """Return which part of a stored tensor a variable is, as savers write it; nothing for all of it."""
    if variable.slice_offset is None or variable.full_shape is None or variable.shape is None:
        return ""
    return slice_text(variable.full_shape, variable.slice_offset, variable.shape)


def _read(scope: str, variable: Variable) -> NodeDef:
    node = NodeDef(name=f"{scope}/{variable.op}/ReadVariableOp", op="ReadVariableOp", input=[variable.op])
    node.attr["dtype"].CopyFrom(type_attr(variable.dtype.number))
    return node


def _assign(scope: str, variable: Variable, position: int) -> NodeDef:
    """Return the op that gives a variable what was read for it."""
    node = NodeDef(name=f"{scope}/{variable.op}/Assign", input=[variable.op, f"{scope}/RestoreV2:{position}"])
    node.op = "AssignVariableOp" if variable.resource else "Assign"
    node.attr["dtype" if variable.resource else "T"].CopyFrom(type_attr(variable.dtype.number))
    return node
