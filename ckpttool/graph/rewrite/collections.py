"""Collections, signatures and savers of a graph that has lost ops: what still holds is kept, the rest goes."""

import contextlib
from collections.abc import Callable, Container, Iterator

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
    ValuesDef,
    VariableDef,
    WhileContextDef,
)
from ckpttool.graph.core import TensorRef

_Context = CondContextDef | WhileContextDef

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
"""The collections that hold VariableDefs."""


ASSETS = "saved_model_assets"
"""The collection of the files that a graph reads, each with the tensor that says where it is."""


def is_there(tensor: str, ops: Container[str]) -> bool:
    """Say whether a tensor's or op's name (also `^op`) stands for an op of a graph."""
    return TensorRef.parse(tensor).op in ops


def keep_what_holds(meta: MetaGraphDef, ops: Container[str]) -> None:
    """Drop from collections, signatures, assets and savers, in place, what names ops that are gone."""
    for key in list(meta.collection_def):
        if not _filter(key, meta.collection_def[key], ops):
            del meta.collection_def[key]
    _filter_signatures(meta, ops)
    if not _saver_holds(meta.saver_def, ops):
        meta.ClearField("saver_def")


def _filter_signatures(meta: MetaGraphDef, ops: Container[str]) -> None:
    for key in list(meta.signature_def):
        signature = meta.signature_def[key]
        infos = [*signature.inputs.values(), *signature.outputs.values()]
        if not all(is_there(name, ops) for info in infos for name in _tensors(info)):
            del meta.signature_def[key]
    assets = [asset for asset in meta.asset_file_def if is_there(asset.tensor_info.name, ops)]
    del meta.asset_file_def[:]
    meta.asset_file_def.extend(assets)


def _tensors(info: TensorInfo) -> list[str]:
    """Return the tensors of one entry of a signature: three where it is sparse."""
    sparse = info.coo_sparse
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [name for name in names if name]


def _filter(key: str, collection: CollectionDef, ops: Container[str]) -> bool:
    """Filter a collection in place; say whether anything is left."""
    if collection.WhichOneof("kind") == "node_list":
        kept = [name for name in collection.node_list.value if is_there(name, ops)]
        del collection.node_list.value[:]
        collection.node_list.value.extend(kept)
        return bool(kept)
    if collection.WhichOneof("kind") == "bytes_list" and (keep := _FILTERS.get(key)):
        entries = [entry for raw in collection.bytes_list.value if (entry := _decoded(keep, raw, ops)) is not None]
        del collection.bytes_list.value[:]
        collection.bytes_list.value.extend(entries)
        return bool(entries)
    if key == ASSETS and collection.WhichOneof("kind") == "any_list":
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


_Keep = Callable[[bytes, Container[str]], Message | None]


def _decoded(keep: _Keep, raw: bytes, ops: Container[str]) -> bytes | None:
    """Filter one entry; what is not the message that the collection's key promises is left as it is."""
    try:
        entry = keep(raw, ops)
    except DecodeError:
        return raw
    return None if entry is None else entry.SerializeToString()


def _variable(raw: bytes, ops: Container[str]) -> Message | None:
    entry = VariableDef.FromString(raw)
    return entry if is_there(entry.variable_name, ops) else None


def _saver(raw: bytes, ops: Container[str]) -> Message | None:
    entry = SaverDef.FromString(raw)
    return entry if _saver_holds(entry, ops) else None


def _saver_holds(saver: SaverDef, ops: Container[str]) -> bool:
    names = (saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name)
    return all(is_there(name, ops) for name in names)


def _queue_runner(raw: bytes, ops: Container[str]) -> Message | None:
    entry = QueueRunnerDef.FromString(raw)
    names = [entry.queue_name, *entry.enqueue_op_name, entry.close_op_name, entry.cancel_op_name]
    return entry if all(is_there(name, ops) for name in names if name) else None


def _cond_context(raw: bytes, ops: Container[str]) -> Message | None:
    entry = CondContextDef.FromString(raw)
    return entry if _cond_holds(entry, ops) else None


def _while_context(raw: bytes, ops: Container[str]) -> Message | None:
    entry = WhileContextDef.FromString(raw)
    return entry if _while_holds(entry, ops) else None


def _cond_holds(context: CondContextDef, ops: Container[str]) -> bool:
    """Filter a conditional's context in place; it needs its predicate and its pivot."""
    _filter_values(context.values_def, ops)
    _filter_nested(context, ops)
    return is_there(context.pred_name, ops) and is_there(context.pivot_name, ops)


def _while_holds(context: WhileContextDef, ops: Container[str]) -> bool:
    """Filter a loop's context in place; it needs its pivots and every exit that is named."""
    _filter_values(context.values_def, ops)
    _filter_nested(context, ops)
    for names in (context.loop_exit_names, context.loop_enter_names):
        kept = [name for name in names if is_there(name, ops)]
        del names[:]
        names.extend(kept)
    pivots = (context.pivot_name, context.pivot_for_pred_name, context.pivot_for_body_name)
    return all(is_there(name, ops) for name in pivots)


def _filter_values(values: ValuesDef, ops: Container[str]) -> None:
    kept = [name for name in values.values if is_there(name, ops)]
    del values.values[:]
    values.values.extend(kept)
    for name, outside in list(values.external_values.items()):
        if not (is_there(name, ops) and is_there(outside, ops)):
            del values.external_values[name]


def _filter_nested(context: CondContextDef | WhileContextDef, ops: Container[str]) -> None:
    """Filter the contexts inside of one."""
    kept = [nested for nested in context.nested_contexts if _nested_holds(nested, ops)]
    del context.nested_contexts[:]
    context.nested_contexts.extend(kept)


def _nested_holds(nested: ControlFlowContextDef, ops: Container[str]) -> bool:
    if nested.WhichOneof("ctxt") == "cond_ctxt":
        return _cond_holds(nested.cond_ctxt, ops)
    return _while_holds(nested.while_ctxt, ops)


def pivots(meta: MetaGraphDef, ops: Container[str]) -> list[str]:
    """Return what the contexts of conditionals and loops that have some of these ops need to stay: their pivots."""
    return [name for context in _contexts(meta) for name in _pivots(context, ops)]


def _contexts(meta: MetaGraphDef) -> Iterator[_Context]:
    for key, kind in (("cond_context", CondContextDef), ("while_context", WhileContextDef)):
        for raw in meta.collection_def[key].bytes_list.value if key in meta.collection_def else ():
            with contextlib.suppress(DecodeError):
                yield kind.FromString(raw)


def _pivots(context: _Context, ops: Container[str]) -> list[str]:
    inside = set(context.values_def.values) - set(context.values_def.external_values)
    if not any(is_there(name, ops) for name in inside):
        return []
    if isinstance(context, CondContextDef):
        own = [context.pred_name, context.pivot_name]
    else:
        own = [context.pivot_name, context.pivot_for_pred_name, context.pivot_for_body_name]
    return own + [name for nested in context.nested_contexts for name in _pivots(_nested(nested), ops)]


def _nested(nested: ControlFlowContextDef) -> _Context:
    return nested.cond_ctxt if nested.WhichOneof("ctxt") == "cond_ctxt" else nested.while_ctxt


_FILTERS: dict[str, _Keep] = {
    **dict.fromkeys(VARIABLE_COLLECTIONS, _variable),
    "savers": _saver,
    "queue_runners": _queue_runner,
    "cond_context": _cond_context,
    "while_context": _while_context,
}
