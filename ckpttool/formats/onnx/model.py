"""Finding the tensors of an ONNX model (onnx/onnx.proto).

A model is one message. Its fields are traversed without reading their content; only small ones are parsed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.onnx.values import DTYPES, LISTS, UNREAD, entries, list_of, stored_bytes
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.wire_fields import BYTES, VARINT, WireField, fields
from ckpttool.formats.wire.protos.onnx_pb2 import StringStringEntryProto, TensorProto

IR_VERSION, GRAPH, OPSETS, METADATA, TRAINING, FUNCTIONS = 1, 7, 8, 14, 20, 25
KINDS = {IR_VERSION: VARINT, 5: VARINT} | dict.fromkeys(
    (2, 3, 4, 6, GRAPH, OPSETS, METADATA, TRAINING, FUNCTIONS, 26), BYTES
)
"""The fields of a ModelProto, with their wire types."""
NODE, INITIALISER, SPARSE_INITIALISER = 1, 5, 15
NODE_OUTPUT, NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 2, 4, 5, 7
TENSOR, SUBGRAPH, LISTED_FLOATS, TENSORS, SUBGRAPHS, SPARSE, SPARSES = 5, 6, 7, 10, 11, 22, 23
"""Fields of a GraphProto, a NodeProto and an AttributeProto."""
FUNCTION_NODE, SPARSE_VALUES = 7, 1
"""Fields of a FunctionProto (its nodes) and a SparseTensorProto (its values)."""
CONSTANT, ML = b"Constant", b"ai.onnx.ml"
RAW = 9
HEADER = {1, 2, 3, 8, 13, 14}
"""The fields of a TensorProto that describe it; the others are its data, or a comment."""
HEADER_LIMIT, TEXT_LIMIT = 1 << 20, 64 << 20
RANK_LIMIT = 64


class Initialiser(NamedTuple):
    """A tensor of a model: its spec, its message, and the place of its bytes (`raw`), or of the file with them."""

    spec: TensorSpec
    message: WireField
    raw: WireField | None
    external: dict[str, str] | None


class OnnxModel(NamedTuple):
    """The content of a file: tensors by name, metadata, and descriptions of tensors that are not read."""

    initialisers: dict[str, Initialiser]
    metadata: dict[str, str]
    left_out: tuple[str, ...]


def is_model(file: CheckpointFile) -> bool:
    """Return whether all fields of a file are those of a ModelProto, including a graph."""
    try:
        present = {(field.number, field.kind) for field in _known_fields(file)}
    except CorruptCheckpoint:
        return False
    return (GRAPH, BYTES) in present


def read_model(file: CheckpointFile) -> OnnxModel:
    """Find the initialisers of the main graph.

    Raises:
        CorruptCheckpoint: the file is damaged or truncated, or a tensor's data does not fit its description.
        FormatError: two initializers have the same name.
    """
    top = list(_known_fields(file))
    graphs = [field for field in top if field.number == GRAPH]
    if len(graphs) != 1:
        raise CorruptCheckpoint(f"{file.path}: the model has {counted(len(graphs), 'graph')}, expected one")
    if not any(field.number == OPSETS for field in top):
        raise CorruptCheckpoint(f"{file.path}: the model lacks its list of operator sets: it is truncated")
    initialisers: dict[str, Initialiser] = {}
    unread: list[str] = []
    for field in fields(file, graphs[0].start, graphs[0].end):
        if field.number == SPARSE_INITIALISER:
            unread.append(f"{_sparse_name(file, _message(file, field))} (a sparse initializer)")
        if field.number == INITIALISER:
            initialiser = _initialiser(file, _message(file, field))
            if isinstance(initialiser, str):
                unread.append(initialiser)
                continue
            if initialiser.spec.name in initialisers:
                raise FormatError(f"{file.path}: two initializers are named {initialiser.spec.name}")
            initialisers[initialiser.spec.name] = initialiser
    functions = [_message(file, field) for field in top if field.number == FUNCTIONS]
    inside = (name for function in functions for name in _constants(file, function, FUNCTION_NODE))
    training = ("training_info",) if any(field.number == TRAINING for field in top) else ()
    left_out = (*unread, *_constants(file, graphs[0], NODE), *inside, *training)
    return OnnxModel(initialisers, _metadata(file, top), left_out)


def _sparse_name(file: CheckpointFile, message: WireField) -> str:
    """Return the name of a sparse tensor, which is the name of its values."""
    for field in fields(file, message.start, message.end):
        if field.number == SPARSE_VALUES:
            values = _message(file, field)
            return _header(file, values, list(fields(file, values.start, values.end))).name
    raise CorruptCheckpoint(f"{file.path}: the sparse initializer at byte {message.start} has no values")


def _known_fields(file: CheckpointFile) -> Iterator[WireField]:
    for field in fields(file, 0, file.size):
        if KINDS.get(field.number) != field.kind:
            raise CorruptCheckpoint(f"{file.path} is not a model of ONNX: no known field begins at byte {field.at}")
        yield field


def _message(file: CheckpointFile, field: WireField) -> WireField:
    if field.kind != BYTES:
        raise CorruptCheckpoint(f"{file.path} is damaged: expected a message at byte {field.at}")
    return field


def _initialiser(file: CheckpointFile, message: WireField) -> Initialiser | str:
    """Read a tensor's description, and check the size of its data, which is not read.

    If the dtype is not supported, a message with the tensor's name is returned.
    """
    parts = list(fields(file, message.start, message.end))
    head = _header(file, message, parts)
    sizes = tuple(head.dims)
    if len(sizes) > RANK_LIMIT or not is_possible(sizes, 1):
        raise CorruptCheckpoint(f"{file.path}: {head.name} has the impossible shape {list(sizes)}")
    if head.data_type not in DTYPES:
        named = UNREAD.get(head.data_type, "unknown")
        return f"{head.name} (has dtype number {head.data_type}, {named}, which is not supported)"
    spec = TensorSpec(head.name, sizes, DTYPES[head.data_type])
    raw = [part for part in parts if part.number == RAW]
    held = {part.number for part in parts if part.number in LISTS} | {part.number for part in raw}
    external = head.data_location == TensorProto.EXTERNAL
    if len(held) + external > 1 or len(raw) > 1:
        raise CorruptCheckpoint(f"{file.path}: {head.name} stores its numbers in several fields")
    if (raw or external) and spec.dtype is STRING:
        raise CorruptCheckpoint(
            f"{file.path}: {head.name} stores strings as raw bytes, which do not mark where each ends"
        )
    if external:
        return Initialiser(spec, message, None, {entry.key: entry.value for entry in head.external_data})
    if raw:
        _require(file, spec, raw[0].end - raw[0].start, stored_bytes(spec), exact=True)
        return Initialiser(spec, message, _message(file, raw[0]), None)
    listed = list_of(spec.dtype)
    size = sum(part.end - part.at for part in parts if part.number == listed.number)
    _require(file, spec, size, entries(spec) * listed.least, exact=False)
    return Initialiser(spec, message, None, None)


def _header(file: CheckpointFile, message: WireField, parts: list[WireField]) -> TensorProto:
    described = [part for part in parts if part.number in HEADER]
    if sum(part.end - part.at for part in described) > HEADER_LIMIT:
        raise CorruptCheckpoint(
            f"{file.path}: the tensor at byte {message.start} has a name or a shape that is too long"
        )
    try:
        head = TensorProto.FromString(b"".join(file.piece(part.end - part.at, part.at) for part in described))
    except DecodeError as error:
        raise CorruptCheckpoint(f"{file.path}: the tensor at byte {message.start} is damaged") from error
    if not head.name or head.HasField("segment"):
        raise CorruptCheckpoint(
            f"{file.path}: the tensor at byte {message.start} has no name, or is a segment of a tensor"
        )
    return head


def _require(file: CheckpointFile, spec: TensorSpec, size: int, wanted: int, exact: bool) -> None:
    if size < wanted or (exact and size != wanted):
        raise CorruptCheckpoint(
            f"{file.path}: {spec.name} is declared as {spec.dtype} {list(spec.shape)}, {wanted} bytes, but {size} are "
            f"there"
        )


def _metadata(file: CheckpointFile, top: list[WireField]) -> dict[str, str]:
    """Return the metadata of the model."""
    texts: dict[str, str] = {}
    for field in top:
        if field.number == METADATA:
            if field.end - field.start > TEXT_LIMIT:
                raise CorruptCheckpoint(
                    f"{file.path}: a text of its metadata has {field.end - field.start} bytes, which is too long"
                )
            try:
                entry = StringStringEntryProto.FromString(file.piece(field.end - field.start, field.start))
            except DecodeError as error:
                raise CorruptCheckpoint(f"{file.path}: its metadata at byte {field.start} is damaged") from error
            texts[entry.key] = entry.value
    return texts


def _constants(file: CheckpointFile, graph: WireField, nodes: int) -> Iterator[str]:
    """Yield the first outputs of nodes that contain tensors, also in nested graphs; these are not read as initialisers.

    `nodes` is the number of the field with the nodes in a graph or function.
    """
    todo = [("", graph, nodes)]
    while todo:
        owner, graph, nodes = todo.pop()
        for field in fields(file, graph.start, graph.end):
            if field.number in (INITIALISER, SPARSE_INITIALISER) and owner:
                yield owner
            elif field.number == nodes:
                output, inner, holds = _node(file, _message(file, field))
                todo += [(owner or output, subgraph, NODE) for subgraph in inner]
                if holds:
                    yield owner or output


def _node(file: CheckpointFile, node: WireField) -> tuple[str, list[WireField], bool]:
    """Return a node's first output, the graphs in its attributes, and whether its attributes contain a tensor.

    Lists of floats count as tensors in operators of `ai.onnx.ml` and in constants.
    """
    output, inner, holds, listed, weighs = "", [], False, False, False
    for field in fields(file, node.start, node.end):
        if field.number == NODE_OUTPUT and not output:
            size = min(field.end - field.start, HEADER_LIMIT)
            output = file.piece(size, field.start).decode("utf-8", "backslashreplace")
        elif field.number in (NODE_OPERATOR, NODE_DOMAIN):
            weighs |= file.piece(min(field.end - field.start, len(ML)), field.start) in (CONSTANT, ML)
        elif field.number == NODE_ATTRIBUTE:
            for part in fields(file, *_message(file, field)[3:]):
                holds |= part.number in (TENSOR, TENSORS, SPARSE, SPARSES) and part.kind == BYTES
                listed |= part.number == LISTED_FLOATS
                inner += [part] if part.number in (SUBGRAPH, SUBGRAPHS) and part.kind == BYTES else []
    return output, inner, holds or (listed and weighs)
