"""Graphs in bytes: MetaGraphDefs, SavedModels and bare GraphDefs, binary or text, recognised by their contents."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ckpttool.core.errors import CkptError, FormatError, GraphError
from ckpttool.formats import registry
from ckpttool.formats.wire import text_messages
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.formats.wire.table import MAGIC
from ckpttool.graph.paths import SAVED_MODEL_NAMES

_Kind = TypeVar("_Kind", bound=Message)
_NETWORKS = {"onnx": "ONNX", "tflite": "TensorFlow Lite", "caffe": "Caffe"}
"""Formats that have ops of their own, by name."""
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive (.npz, .keras or .pt)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version https://git-lfs.github.com/spec/", "a git-LFS pointer; fetch the file itself with `git lfs pull`"),
)


def meta_graph(data: bytes, file: Path, tags: Collection[str] | None = None) -> MetaGraphDef:
    """Return the graph in the bytes of a file; `tags` selects one of several in a SavedModel.

    Unknown fields of binary messages are preserved. The binary messages have no signature, so the first kind with ops
    that have names and types is used, but that of a `saved_model.pb` is known.

    Raises:
        FormatError: the bytes are not a graph, or are damaged; of a text, if it has an unknown field.
        GraphError: there are several graphs, and the tags select none or more than one; the message lists them.
    """
    _refuse_foreign(data, file)
    if file.name in SAVED_MODEL_NAMES:
        return _tagged(_parse(data, SavedModel, file), tags, file)
    problem = "no op found in it"
    for kind in _kinds(data):
        try:
            message = _parse(data, kind, file)
        except FormatError as error:
            problem = str(error).removeprefix(f"{file}: ")
            continue
        if isinstance(message, SavedModel) and any(meta.graph_def.node for meta in message.meta_graphs):
            return _tagged(message, tags, file)
        if isinstance(message, GraphDef) and _has_ops(message):
            return MetaGraphDef(graph_def=message)
        if isinstance(message, MetaGraphDef) and _has_ops(message.graph_def):
            return message
    _refuse_checkpoint(file)
    raise FormatError(f"{file}: neither a MetaGraphDef (.meta), a SavedModel nor a GraphDef: {problem}")


def every_meta_graph(data: bytes, file: Path) -> list[MetaGraphDef]:
    """Return all graphs in the bytes of a file: if they parse as messages of several kinds, those of each.

    Raises:
        FormatError: the bytes are not a graph, or are damaged.
    """
    _refuse_foreign(data, file)
    if file.name in SAVED_MODEL_NAMES:
        return list(_parse(data, SavedModel, file).meta_graphs)
    metas = []
    for kind in _kinds(data):
        try:
            metas += _metas_of(_parse(data, kind, file))
        except FormatError:
            continue
    named = [meta for meta in metas if _has_ops(meta.graph_def) and all(map(_is_typed, meta.graph_def.node))]
    if not named:
        meta_graph(data, file)  # says why
        raise FormatError(f"{file}: not a MetaGraphDef (.meta), SavedModel or GraphDef: no op has a type")
    return named


def _refuse_checkpoint(file: Path) -> None:
    """Check that a file which has no graph is not a checkpoint in another format.

    Raises:
        FormatError: it is.
    """
    if file.suffix == ".meta":  # one of a checkpoint's files
        return
    try:
        name = registry.find(file).NAME
    except CkptError:
        return
    what = f"a model of {_NETWORKS[name]}, whose ops are not supported" if name in _NETWORKS else f"weights ({name})"
    raise FormatError(
        f"{file}: {what}, expected a graph of TensorFlow: vars, layers, stats, show, diff, verify, convert, edit and "
        "import read its tensors"
    )


def _has_ops(graph_def: GraphDef) -> bool:
    """Return whether there are ops, and all have a name and a type."""
    return bool(graph_def.node) and all(node.name and node.op for node in graph_def.node)


def _is_typed(node: NodeDef) -> bool:
    """Return whether an op's type is an identifier; another message parsed as a graph may have any string there."""
    return re.fullmatch(r"[A-Za-z_][\w.>-]*", node.op) is not None


def _metas_of(message: Message) -> list[MetaGraphDef]:
    if isinstance(message, SavedModel):
        return list(message.meta_graphs)
    if isinstance(message, GraphDef):
        return [MetaGraphDef(graph_def=message)]
    return [message] if isinstance(message, MetaGraphDef) else []


def _parse(data: bytes, kind: type[_Kind], file: Path) -> _Kind:
    """Read one message, text or binary."""
    message = kind()
    try:
        if _is_text(data):
            return text_messages.parsed(data, message)
        message.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"{file}: not a {kind.DESCRIPTOR.name}: {reason}") from error
    return message


def _is_text(data: bytes) -> bool:
    """Return whether the bytes are text; a binary message begins with a small field number and a length."""
    start = data[:512]
    return bool(start.strip()) and all(byte >= 32 or byte in b"\t\n\r" for byte in start)


def _kinds(data: bytes) -> tuple[type[Message], ...]:
    """Return the message types that bytes may have; that of a text is known by its first field."""
    if not _is_text(data):
        return MetaGraphDef, GraphDef, SavedModel
    first = re.search(rb"^[^\S\n]*(\w+)", data, re.MULTILINE)
    word = first[1].decode() if first else ""
    kinds: tuple[type[Message], ...] = (GraphDef, SavedModel)
    return (next((kind for kind in kinds if word in kind.DESCRIPTOR.fields_by_name), MetaGraphDef),)


def _tagged(model: SavedModel, tags: Collection[str] | None, file: Path) -> MetaGraphDef:
    """Return the graph with exactly these tags, else the only one whose tags include them."""
    graphs = list(model.meta_graphs)
    wanted = None if tags is None else set(tags)
    exact = [meta for meta in graphs if wanted is None or set(meta.meta_info_def.tags) == wanted]
    chosen = exact or [meta for meta in graphs if wanted is not None and wanted <= set(meta.meta_info_def.tags)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(",".join(meta.meta_info_def.tags) or "(no tags)" for meta in graphs)
    if not graphs:
        raise FormatError(f"{file}: a SavedModel without a graph")
    if wanted is None:
        raise GraphError(f"{file}: {len(graphs)} graphs, tagged {listed}; specify one with `tags`")
    raise GraphError(f"{file}: {len(chosen)} graphs tagged {','.join(sorted(wanted))}; it has {listed}")


def _refuse_foreign(data: bytes, file: Path) -> None:
    """Check that the file is not of another known kind.

    Raises:
        FormatError: it is; the message names the kind.
    """
    if not data:
        raise FormatError(f"{file}: an empty file, not a graph")
    for magic, what in _FOREIGN:
        if data.startswith(magic):
            raise FormatError(f"{file}: not a graph but {what}")
    if data.endswith(MAGIC):
        raise FormatError(f"{file}: not a graph but a checkpoint's index or V1 checkpoint")
