"""Renaming ops and tensors in a graph's header: collections, signatures, assets, savers."""

from collections.abc import Callable, Iterator, MutableMapping

from google.protobuf.message import DecodeError, Message

from ckpttool.formats.wire.protos.meta_graph_pb2 import (
    CollectionDef,
    CondContextDef,
    MetaGraphDef,
    QueueRunnerDef,
    SaverDef,
    VariableDef,
    WhileContextDef,
)
from ckpttool.graph.rewrite.collections import VARIABLE_COLLECTIONS

_ENTRIES: dict[str, type[Message]] = {
    **dict.fromkeys(VARIABLE_COLLECTIONS, VariableDef),
    "savers": SaverDef,
    "queue_runners": QueueRunnerDef,
    "cond_context": CondContextDef,
    "while_context": WhileContextDef,
}
"""The collections of messages whose strings are all names of ops, tensors and scopes."""

Renamed = Callable[[str], str]
"""A function that returns the new form of a name: `op`, `op:1`, `^op`."""


def rename_in_header(header: MetaGraphDef, renamed: Renamed) -> None:
    """Rename in collections, signatures, assets and the saver, in place."""
    for key, collection in header.collection_def.items():
        _rename_collection(key, collection, renamed)
    if header.HasField("saver_def"):
        rename_texts(header.saver_def, renamed)
    for info in _tensor_infos(header):
        rename_texts(info, renamed)


def _tensor_infos(header: MetaGraphDef) -> Iterator[Message]:
    for signature in header.signature_def.values():
        yield from (*signature.inputs.values(), *signature.outputs.values())
    yield from (asset.tensor_info for asset in header.asset_file_def)


def _rename_collection(key: str, collection: CollectionDef, renamed: Renamed) -> None:
    """Rename in a collection, in place; entries that are not messages of the expected type are unchanged."""
    texts = collection.node_list.value
    if collection.WhichOneof("kind") == "node_list":
        texts[:] = [renamed(text) for text in texts]
    if collection.WhichOneof("kind") == "bytes_list" and key in _ENTRIES:
        entries = collection.bytes_list.value
        entries[:] = [_rename_entry(raw, _ENTRIES[key], renamed) for raw in entries]


def _rename_entry(raw: bytes, kind: type[Message], renamed: Renamed) -> bytes:
    entry = kind()
    try:
        entry.ParseFromString(raw)
    except DecodeError:
        return raw
    rename_texts(entry, renamed)
    return entry.SerializeToString()


def rename_texts(message: Message, renamed: Renamed) -> None:
    """Rename in every string of a message, in place."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _rename_map(value, renamed)
        elif field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                rename_texts(inner, renamed)
        elif isinstance(value, str):
            setattr(message, field.name, renamed(value))
        elif field.type == field.TYPE_STRING:
            value[:] = [renamed(text) for text in value]


def _rename_map(texts: MutableMapping[str, str], renamed: Renamed) -> None:
    """Rename in the keys and values of a map of strings, such as the outside tensors that a conditional reads."""
    pairs = {renamed(key): renamed(value) for key, value in texts.items()}
    texts.clear()
    texts.update(pairs)
