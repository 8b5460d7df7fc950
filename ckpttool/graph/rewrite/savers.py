"""Savers: changes their names or dtypes in the checkpoint, removes variables from them, or adds a new saver of all."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ckpttool.core.dtypes import STRING, DType
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SaverDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.savers import saver_entries, saver_ops, slice_text, texts
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import RESTORES, SAVER_DTYPES, SAVES, SLICED_SAVERS
from ckpttool.graph.rewrite.draft import Draft, control_inputs, free_name, input_text, set_inputs, type_attr
from ckpttool.graph.rewrite.prune import keep


def rename_saved(graph: Graph, renamed: Callable[[str], str]) -> Graph:
    """Return the graph whose savers write and read tensors under the names that `renamed` returns for the old ones."""
    draft = Draft(graph)
    for name in saver_ops(graph):
        place = graph.inputs(name)[1]
        put_texts(draft.op(place.op), [renamed(key) for key in texts(graph, place)])
    return draft.sealed().apart()


def trim_savers(graph: Graph, gone: Container[str]) -> Graph:
    """Return the graph whose savers no longer write and read the named variables (ops).

    The assigns that restore these are removed too, and so is a saver without any variables left.
    """
    draft, removed, moved = Draft(graph), set[str](), dict[TensorRef, TensorRef]()
    for name in saver_ops(graph):
        members = saver_entries(graph, name)
        lost = {entry.position for entry in members if entry.variable is not None and entry.variable in gone}
        kept = [entry.position for entry in members if entry.position not in lost]
        if graph.nodes[name].op in RESTORES:
            removed.update(op for position in lost for op in _restoring(graph, TensorRef(name, position)))
            moved |= {TensorRef(name, old): TensorRef(name, place) for place, old in enumerate(kept)}
        if not kept:
            removed.add(name)
        elif len(kept) < len(members):
            _keep_entries(draft, name, kept)
    files = {graph.inputs(name)[0] for name in removed if graph.nodes[name].op in SAVES}
    for name in graph.nodes if files else ():  # files that are no longer written are not merged
        readers = (graph.nodes[op].op for op in graph.consumers.get(name, []))
        if graph.nodes[name].op == "Pack" and "MergeV2Checkpoints" in readers:
            shards = [ref for ref in graph.inputs(name) if ref not in files]
            set_inputs(draft.op(name), shards, control_inputs(graph.nodes[name]))
            draft.op(name).attr["N"].i = len(shards)
            draft.op(name).attr.pop("_output_shapes", None)
    draft.redirect(moved)
    trimmed = keep(draft.sealed(), graph.nodes.keys() - removed)
    if saver_ops(trimmed):
        return trimmed
    header = trimmed.header_copy()
    header.ClearField("saver_def")
    header.collection_def.pop("savers", None)
    return trimmed.having(header=header)


def put_texts(node: NodeDef, values: list[str]) -> None:
    """Set the strings of a Const in place: a vector of any length, or a scalar."""
    tensor = node.attr["value"].tensor
    tensor.string_val[:] = [value.encode() for value in values]
    if tensor.tensor_shape.dim and tensor.tensor_shape.dim[0].size != len(values):
        tensor.tensor_shape.dim[0].size = len(values)
        node.attr.pop("_output_shapes", None)


def _keep_entries(draft: Draft, name: str, kept: list[int]) -> None:
    """Make an op of a saver write or read only the tensors at the given positions, in place."""
    graph = draft.graph
    node, inputs = draft.op(name), graph.inputs(name)
    for place in inputs[1 : 3 if node.op in SLICED_SAVERS else 2]:
        values = texts(graph, place)
        put_texts(draft.op(place.op), [values[position] for position in kept])
    types = node.attr[SAVER_DTYPES[node.op]].list.type
    types[:] = [types[position] for position in kept]
    if node.op in SAVES:
        first = SAVES[node.op]
        set_inputs(node, [*inputs[:first], *(inputs[first + position] for position in kept)], control_inputs(node))
    node.attr.pop("_output_shapes", None)


def _restoring(graph: Graph, ref: TensorRef) -> Iterator[str]:
    """Yield the ops that a restored tensor passes through, up to and including the assign."""
    for reader in graph.readers.get(ref, []):
        yield reader
        if written_variable(graph, reader) is None:
            yield from _restoring(graph, TensorRef(reader, 0))


def cast_saved(graph: Graph, dtypes: Mapping[str, DType]) -> Graph:
    """Return the graph whose savers write and read tensors (names in the checkpoint) in the given dtypes.

    The variables' dtypes are unchanged: if they differ, a Cast is added to saving and to restoring.
    """
    draft, names = Draft(graph), FreeNames(graph.nodes)
    after_reading: dict[TensorRef, NodeDef] = {}
    for name in saver_ops(graph):
        for entry in saver_entries(graph, name):
            disk, held = dtypes.get(entry.key), _dtype(draft.nodes[name], entry.position)
            if disk is None or held == disk.number:
                continue
            _put_dtype(draft.op(name), entry.position, disk)
            cast_name = partial(names.free, f"{name}/{entry.key}/Cast")
            if graph.nodes[name].op not in RESTORES:
                _cast_written(draft, name, entry.position, disk.number, held, cast_name)
            elif cast := _cast_read(draft, TensorRef(name, entry.position), disk.number, held, cast_name):
                after_reading[TensorRef(name, entry.position)] = cast
    draft.redirect({ref: TensorRef(cast.name, 0) for ref, cast in after_reading.items()})
    draft.add(*after_reading.values())
    return draft.sealed()


def _cast_read(draft: Draft, restored: TensorRef, disk: int, held: int, cast_name: Callable[[], str]) -> NodeDef | None:
    """Return a Cast of a restored tensor to the variable's dtype; None if its only reader is a Cast (then changed)."""
    readers = draft.graph.readers.get(restored, [])
    if len(readers) == 1 and draft.graph.nodes[readers[0]].op == "Cast":
        draft.op(readers[0]).attr["SrcT"].CopyFrom(type_attr(disk))
        return None
    return _cast(cast_name(), restored, disk, held)


def _cast_written(draft: Draft, saver: str, position: int, disk: int, held: int, cast_name: Callable[[], str]) -> None:
    """Add a Cast before a saver's input, or change the existing one if only the saver reads it."""
    graph = draft.graph
    place = SAVES[graph.nodes[saver].op] + position
    written = graph.inputs(saver)[place]
    if graph.nodes[written.op].op == "Cast" and graph.readers.get(written, []) == [saver]:
        draft.op(written.op).attr["DstT"].CopyFrom(type_attr(disk))
        return
    cast = _cast(cast_name(), written, held, disk)
    draft.op(saver).input[place] = cast.name
    draft.add(cast)


def _cast(name: str, ref: TensorRef, source: int, target: int) -> NodeDef:
    """Return a Cast of a tensor between dtypes, by their numbers."""
    cast = NodeDef(name=name, op="Cast", input=[input_text(ref)])
    cast.attr["SrcT"].CopyFrom(type_attr(source))
    cast.attr["DstT"].CopyFrom(type_attr(target))
    return cast


def _dtype(node: NodeDef, position: int) -> int:
    """Return the dtype (by number) of a tensor that a saver's op writes or reads."""
    if node.op not in SAVER_DTYPES:
        return int(node.attr["dt"].type)
    return int(node.attr[SAVER_DTYPES[node.op]].list.type[position])


def _put_dtype(node: NodeDef, position: int, dtype: DType) -> None:
    if node.op not in SAVER_DTYPES:
        node.attr["dt"].CopyFrom(type_attr(dtype.number))
    else:
        node.attr[SAVER_DTYPES[node.op]].list.type[position] = dtype.number  # type: ignore[call-overload]
    node.attr.pop("_output_shapes", None)


def with_saver(graph: Graph, names: Mapping[str, str] | None = None) -> Graph:
    """Return a graph without savers with a new saver of all variables in its checkpoint.

    Its op names and its number of kept checkpoints are those of `tf.compat.v1.train.Saver`. `names` maps variable ops
    to their names in the checkpoint, if these differ.
    """
    members = [replace(each, name=(names or {}).get(each.op, each.name)) for each in variables(graph).values()]
    members.sort(key=lambda each: (each.name, each.slice_offset or ()))
    scope = free_name("save", {name.partition("/")[0] for name in graph.nodes})
    draft = Draft(graph)
    draft.header.collection_def.pop("savers", None)
    draft.header.ClearField("saver_def")
    if members:
        draft.add(*_saver_nodes(scope, members))
        draft.header.saver_def.CopyFrom(
            SaverDef(
                filename_tensor_name=f"{scope}/Const:0",
                save_tensor_name=f"{scope}/control_dependency:0",
                restore_op_name=f"{scope}/restore_all",
                max_to_keep=5,
                keep_checkpoint_every_n_hours=10000.0,
                version=SaverDef.V2,
            )
        )
    return draft.sealed()


def _saver_nodes(scope: str, members: Sequence[Variable]) -> Iterator[NodeDef]:
    """Yield a saver's ops: the file name, the tensor names, variable reads, save, restore, and assigns."""
    default = constant(f"{scope}/filename/input", np.array(b"model", object), STRING)
    file = NodeDef(name=f"{scope}/Const", op="PlaceholderWithDefault", input=[default.name])
    file.attr["dtype"].CopyFrom(type_attr(STRING.number))
    file.attr["shape"].shape.SetInParent()
    yield from (default, file)
    place = [file.name, f"{scope}/SaveV2/tensor_names", f"{scope}/SaveV2/shape_and_slices"]
    for name, texts_of in ((place[1], [each.name for each in members]), (place[2], [_slice(each) for each in members])):
        yield constant(name, np.array([text.encode() for text in texts_of], object), STRING)
    values, assigns = [], []
    for position, variable in enumerate(members):
        dtype = type_attr(variable.dtype.number)
        if variable.resource:
            read = NodeDef(name=f"{scope}/{variable.op}/ReadVariableOp", op="ReadVariableOp", input=[variable.op])
            read.attr["dtype"].CopyFrom(dtype)
            yield read
        values.append(read.name if variable.resource else variable.op)
        assign = NodeDef(name=f"{scope}/{variable.op}/Assign", input=[variable.op, f"{scope}/RestoreV2:{position}"])
        assign.op = "AssignVariableOp" if variable.resource else "Assign"
        assign.attr["dtype" if variable.resource else "T"].CopyFrom(dtype)
        assigns.append(assign)
    save = NodeDef(name=f"{scope}/SaveV2", op="SaveV2", input=[*place, *values])
    done = NodeDef(name=f"{scope}/control_dependency", op="Identity", input=[file.name, f"^{save.name}"])
    done.attr["T"].CopyFrom(type_attr(STRING.number))
    restore = NodeDef(name=f"{scope}/RestoreV2", op="RestoreV2", input=place)
    for node in (save, restore):
        node.attr["dtypes"].list.type.extend([variable.dtype.number for variable in members])  # type: ignore[misc]
    restore_all = NodeDef(name=f"{scope}/restore_all", op="NoOp", input=[f"^{node.name}" for node in assigns])
    yield from (save, done, restore, *assigns, restore_all)


def _slice(variable: Variable) -> str:
    """Return a variable's slice of the stored tensor in the notation of savers; empty for the whole tensor."""
    if variable.slice_offset is None or variable.full_shape is None or variable.shape is None:
        return ""
    return slice_text(variable.full_shape, variable.slice_offset, variable.shape)
