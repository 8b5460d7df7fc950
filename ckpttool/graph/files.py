"""Graph files: `.meta`, `saved_model.pb` and bare GraphDefs, binary or text, recognised by their contents."""

import re
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ckpttool.catalogue.local_files import local
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, GraphError, MissingFile
from ckpttool.core.plain_files import is_file
from ckpttool.core.suggestions import near_names
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import STATE_FILE, V1_SHARD, prefix_of
from ckpttool.formats.tensorflow.tied_graph import is_tied, retie
from ckpttool.formats.wire import text_messages
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.formats.wire.table import MAGIC, is_table
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.formats.writing.staging import destination, settle, staged
from ckpttool.graph.core import Graph
from ckpttool.lineage.carrying import carry_graph
from ckpttool.lineage.output import path_beside
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.remote import sparse_files

_Kind = TypeVar("_Kind", bound=Message)
SAVED_MODEL_NAMES = ("saved_model.pb", "saved_model.pbtxt")
SUFFIXES = (".meta", ".pb", ".keras", ".h5", ".hdf5")
"""Suffixes of files that may contain a graph; `.meta` may be omitted."""
NETWORKS = {"onnx": "ONNX", "tflite": "TensorFlow Lite", "caffe": "Caffe"}
"""Formats that have ops of their own, by name."""
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive (.npz, .keras or .pt)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"version https://git-lfs.github.com/spec/", "a git-LFS pointer; fetch the file itself with `git lfs pull`"),
)


def load(path: str | Path, tags: Collection[str] | None = None) -> Graph:
    """Read the graph that a path refers to (see `find`).

    If a SavedModel contains several graphs, `tags` selects one. Unknown fields of a binary file are preserved; a text
    file with such a field is refused, because it cannot be preserved.

    Raises:
        MissingFile: there is no graph at the path.
        FormatError: the file is not a graph, or is damaged.
        GraphError: there are several graphs, and the tags select none or more than one; the message lists them.
    """
    path = local(path)
    settle(path)
    file = find(path)
    try:
        data = sparse_files.read_bytes(file)
    except CkptError:
        raise
    except OSError as error:
        raise MissingFile(f"{file}: {error.strerror}") from error
    _refuse_foreign(data, file)
    provenance = Provenance((SourceFile.of_graph(file),))
    if file.name in SAVED_MODEL_NAMES:
        return Graph(_tagged(_parse(data, SavedModel, file), tags, file), str(file), provenance=provenance)
    return Graph(_meta_graph(data, tags, file), str(file), provenance=provenance)


def load_every(path: Path) -> list[Graph]:
    """Read all graphs of a file: all in a SavedModel, and for bytes that parse as several message types each result.

    Raises:
        MissingFile: there is no graph at the path.
        FormatError: the file is not a graph, or is damaged.
        GraphError: two ops of a graph have the same name.
    """
    data = sparse_files.read_bytes(path)
    _refuse_foreign(data, path)
    if path.name in SAVED_MODEL_NAMES:
        return [Graph(meta, str(path)) for meta in _parse(data, SavedModel, path).meta_graphs]
    metas = []
    for kind in [_text_kind(data)] if _is_text(data) else [MetaGraphDef, GraphDef, SavedModel]:
        try:
            message: Message = _parse(data, kind, path)
        except FormatError:
            continue
        metas += _metas_of(message)
    named = [meta for meta in metas if _has_ops(meta.graph_def) and all(map(_is_typed, meta.graph_def.node))]
    if not named:
        _meta_graph(data, None, path)  # says why
        raise FormatError(f"{path}: not a MetaGraphDef (.meta), SavedModel or GraphDef: no op has a type")
    return [Graph(meta, str(path)) for meta in named]


def _is_typed(node: NodeDef) -> bool:
    """Return whether an op's type is an identifier; another message parsed as a graph may have any string there."""
    return re.fullmatch(r"[A-Za-z_][\w.>-]*", node.op) is not None


def _metas_of(message: Message) -> list[MetaGraphDef]:
    if isinstance(message, SavedModel):
        return list(message.meta_graphs)
    if isinstance(message, GraphDef):
        return [MetaGraphDef(graph_def=message)]
    return [message] if isinstance(message, MetaGraphDef) else []


def save(graph: Graph, path: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
    """Write a graph as a `.meta` with its lineage file, completely or not at all, and read it back.

    If a checkpoint under the same prefix stores the hash of the old graph, the hash is updated.

    Raises:
        ExistingOutput: the file exists, and `overwrite` is False.
        CorruptCheckpoint: the graph read back differs from the one written; an existing file is unchanged.
    """
    output = Path(path)
    with staged_graph(output, overwrite) as place:
        write(graph.meta, place)
        require_written(place, graph.meta)
        carry_graph(graph.provenance, command, place)
        if output.suffix == ".meta" and is_tied(index := destination(output).with_suffix(".index")):
            retie(index, place, place.with_suffix(".index"))


def require_written(place: Path, meta: MetaGraphDef) -> None:
    """Read a written graph back.

    Raises:
        CorruptCheckpoint: it differs from `meta`.
    """
    if load(place).meta != meta:
        raise CorruptCheckpoint(f"{destination(place)}: the graph reads back differently than it was written")


def staged_graph(path: Path, overwrite: bool) -> AbstractContextManager[Path]:
    """Return a context with the path at which to write a graph without a checkpoint; its lineage is committed with it.

    Raises:
        ExistingOutput: the file exists, and `overwrite` is False.
    """
    return staged(path, lambda: refuse_existing([path], overwrite), lambda: [path, path_beside(path)])


def write(message: Message, path: Path) -> None:
    """Write the message of a graph to a file, completely or not at all."""
    with replacing(path) as file:
        file.write(message.SerializeToString(deterministic=True))


def find(path: str | Path) -> Path:
    """Return the file of the graph that a path refers to.

    The path is the file itself, a checkpoint's prefix or one of its files (then `PREFIX.meta`), a SavedModel's folder,
    or a run's folder, whose `checkpoint` file names the latest checkpoint.

    Raises:
        MissingFile: there is no graph; the message says what was expected.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    stem = path.name.partition(".data-")[0].removesuffix(".index")
    if path.is_file() and path.suffix != ".meta" and is_table(path):
        stem = V1_SHARD.sub("", stem)
    elif path.is_file() and stem == path.name:
        return path
    beside = path.with_name(f"{stem}.meta")
    if is_file(beside):
        return beside
    if path.suffix == ".meta" and beside.name == f"{path.name}.meta":
        raise MissingFile(f"{path}: no such file")
    files = path.parent.iterdir() if path.parent.is_dir() else ()
    models = sorted(each.name.removesuffix(".meta") for each in files if each.suffix in SUFFIXES)
    near = near_names(path.name, models, 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise MissingFile(f"{path}: no graph found: neither a file, a SavedModel folder nor {beside.name}{hint}")


def _in_folder(path: Path) -> Path:
    """Return the graph file of a folder: a SavedModel's, that of a prefix with a final slash, or a run's latest."""
    for name in (*SAVED_MODEL_NAMES, ".meta"):
        if (path / name).is_file():
            return path / name
    if is_file(f"{path}.meta"):
        return path.with_name(f"{path.name}.meta")
    if (path / STATE_FILE).is_file() and is_file(latest := Path(f"{prefix_of(path)}.meta")):
        return latest
    metas = sorted(file.name for file in path.glob("*.meta"))
    hint = f"; it has {', '.join(metas[:5])}: specify one" if metas else ""
    raise MissingFile(f"{path}: a folder without {SAVED_MODEL_NAMES[0]}{hint}")


def _meta_graph(data: bytes, tags: Collection[str] | None, file: Path) -> MetaGraphDef:
    """Read a MetaGraphDef, a SavedModel or a GraphDef.

    The binary formats have no signature, so the first one with ops that have names and types is used.
    """
    kinds = [_text_kind(data)] if _is_text(data) else [MetaGraphDef, GraphDef, SavedModel]
    problem = "no op found in it"
    for kind in kinds:
        try:
            message: Message = _parse(data, kind, file)
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
    what = f"a model of {NETWORKS[name]}, whose ops are not supported" if name in NETWORKS else f"weights ({name})"
    raise FormatError(
        f"{file}: {what}, expected a graph of TensorFlow: vars, layers, stats, show, diff, verify, convert, edit and "
        "import read its tensors"
    )


def _has_ops(graph_def: GraphDef) -> bool:
    """Return whether there are ops, and all have a name and a type."""
    return bool(graph_def.node) and all(node.name and node.op for node in graph_def.node)


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


def _text_kind(data: bytes) -> type[Message]:
    """Return the message type of a text, from its first field."""
    first = re.search(rb"^\s*(\w+)", data, re.MULTILINE)
    word = first[1].decode() if first else ""
    kinds: tuple[type[Message], ...] = (GraphDef, SavedModel)
    return next((kind for kind in kinds if word in kind.DESCRIPTOR.fields_by_name), MetaGraphDef)


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
