"""Collections, signatures and savers of a graph from which ops were removed: only valid entries are kept."""

import contextlib
from collections.abc import Callable, Container
from typing import Any

from google.protobuf.message import DecodeError, Message

from ckpttool.formats.wire.protos.meta_graph_pb2 import (
    AssetFileDef,
    CollectionDef,
    CondContextDef,
    ControlFlowContextDef,
    MetaGraphDef,
    QueueRunnerDef,
    SaverDef,
    TensorInfo,
    VariableDef,
    WhileContextDef,
)
from ckpttool.graph.contents.collections import CONTEXTS, Context
from ckpttool.graph.core import TensorRef, op_of

VARIABLE_COLLECTIONS = frozenset(
    {
        "variables",
        "trainable_variables",
        "model_variables",
        "moving_average_variables",
        "local_variables",
        "metric_variables",
        "global_step",
        "trainable_resource_variables",
    }
)
"""The collections of VariableDefs."""


ASSETS = "saved_model_assets"
"""The collection of the files that a graph reads, each with the tensor of its path."""


def is_there(tensor: str, ops: Container[str]) -> bool:
    """Return whether the op of a tensor's or op's name (also `^op`) is among `ops`."""
    return op_of(tensor) in ops


def keep_what_holds(meta: MetaGraphDef, ops: Container[str]) -> None:
    """Remove, in place, the entries of collections, signatures, assets and savers that name removed ops."""
    for key in list(meta.collection_def):
        if not _filter(key, meta.collection_def[key], ops):
            del meta.collection_def[key]
    for key in list(meta.signature_def):
        signature = meta.signature_def[key]
        infos = [*signature.inputs.values(), *signature.outputs.values()]
        if not all(is_there(name, ops) for info in infos for name in _tensors(info)):
            del meta.signature_def[key]
    assets = [asset for asset in meta.asset_file_def if is_there(asset.tensor_info.name, ops)]
    del meta.asset_file_def[:]
    meta.asset_file_def.extend(assets)
    if not _saver_holds(meta.saver_def, ops):
        meta.ClearField("saver_def")


def _tensors(info: TensorInfo) -> list[str]:
    """Return the tensors of one entry of a signature; three if it is sparse."""
    sparse = info.coo_sparse
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [name for name in names if name]


def _filter(key: str, collection: CollectionDef, ops: Container[str]) -> bool:
    """Filter a collection in place, and return whether entries remain."""
    kind = collection.WhichOneof("kind")
    if kind == "node_list":
        names = [name for name in collection.node_list.value if is_there(name, ops)]
        collection.node_list.value[:] = names
        return bool(names)
    if kind == "bytes_list" and key in _ENTRIES:
        message, holds = _ENTRIES[key]
        kept = []
        for raw in collection.bytes_list.value:
            try:
                entry = message.FromString(raw)
            except DecodeError:
                kept.append(raw)  # not the expected message: kept unchanged
                continue
            if holds(entry, ops):
                kept.append(entry.SerializeToString())
        collection.bytes_list.value[:] = kept
        return bool(kept)
    if kind == "any_list" and key == ASSETS:
        held = [entry for entry in collection.any_list.value if _asset_holds(entry.value, ops)]
        del collection.any_list.value[:]
        collection.any_list.value.extend(held)
        return bool(held)
    return True


def _asset_holds(raw: bytes, ops: Container[str]) -> bool:
    try:
        return is_there(AssetFileDef.FromString(raw).tensor_info.name, ops)
    except DecodeError:
        return True


def _variable_holds(variable: VariableDef, ops: Container[str]) -> bool:
    return is_there(variable.variable_name, ops)


def _saver_holds(saver: SaverDef, ops: Container[str]) -> bool:
    names = (saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name)
    return all(is_there(name, ops) for name in names)


def _queue_runner_holds(runner: QueueRunnerDef, ops: Container[str]) -> bool:
    names = [runner.queue_name, *runner.enqueue_op_name, runner.close_op_name, runner.cancel_op_name]
    return all(is_there(name, ops) for name in names if name)


def _context_holds(context: Context, ops: Container[str]) -> bool:
    """Filter a conditional's or loop's context and its inner ones in place, and return whether its pivots remain."""
    values = context.values_def
    values.values[:] = [name for name in values.values if is_there(name, ops)]
    for name, outside in list(values.external_values.items()):
        if not (is_there(name, ops) and is_there(outside, ops)):
            del values.external_values[name]
    nested = [each for each in context.nested_contexts if _context_holds(inner_of(each), ops)]
    del context.nested_contexts[:]
    context.nested_contexts.extend(nested)
    if isinstance(context, WhileContextDef):
        for names in (context.loop_exit_names, context.loop_enter_names):
            names[:] = [name for name in names if is_there(name, ops)]
    return all(is_there(name, ops) for name in _own_pivots(context))


def _own_pivots(context: Context) -> list[str]:
    """Return the tensors that a context requires: the predicate and pivot of a conditional, the pivots of a loop."""
    if isinstance(context, CondContextDef):
        return [context.pred_name, context.pivot_name]
    return [context.pivot_name, context.pivot_for_pred_name, context.pivot_for_body_name]


def inner_of(nested: ControlFlowContextDef) -> Context:
    """Return the message of a nested context."""
    return nested.cond_ctxt if nested.WhichOneof("ctxt") == "cond_ctxt" else nested.while_ctxt


def pivots(meta: MetaGraphDef, ops: Container[str]) -> list[str]:
    """Return the pivots of the conditionals and loops that contain some of these ops, which their contexts require."""
    return [name for context in _contexts(meta) for name in _pivots(context, ops)]


def units_of_control(meta: MetaGraphDef) -> list[frozenset[str]]:
    """Return the ops of each conditional and loop with a context, including those of nested ones."""
    return [frozenset(TensorRef.parse(name).op for name in _inside(context)) for context in _contexts(meta)]


def _contexts(meta: MetaGraphDef) -> list[Context]:
    contexts: list[Context] = []
    for key, kind in CONTEXTS.items():
        for raw in meta.collection_def[key].bytes_list.value if key in meta.collection_def else ():
            with contextlib.suppress(DecodeError):
                contexts.append(kind.FromString(raw))
    return contexts


def _inside(context: Context) -> set[str]:
    inner = (name for nested in context.nested_contexts for name in _inside(inner_of(nested)))
    own = set(context.values_def.values) - set(context.values_def.external_values)
    return own.union(_own_pivots(context), inner)


def _pivots(context: Context, ops: Container[str]) -> list[str]:
    inside = set(context.values_def.values) - set(context.values_def.external_values)
    if not any(is_there(name, ops) for name in inside):
        return []
    inner = [name for nested in context.nested_contexts for name in _pivots(inner_of(nested), ops)]
    return _own_pivots(context) + inner


_ENTRIES: dict[str, tuple[type[Message], Callable[[Any, Container[str]], bool]]] = {
    **dict.fromkeys(VARIABLE_COLLECTIONS, (VariableDef, _variable_holds)),
    "savers": (SaverDef, _saver_holds),
    "queue_runners": (QueueRunnerDef, _queue_runner_holds),
    "cond_context": (CondContextDef, _context_holds),
    "while_context": (WhileContextDef, _context_holds),
}
"""The collections of messages by key: their type, and the function that filters an entry and returns if it is valid."""
