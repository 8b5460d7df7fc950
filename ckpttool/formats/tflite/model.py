"""The tables of a .tflite: names, shapes and types of tensors, the places of constants, and their quantisation.

The layout: tensorflow/compiler/mlir/lite/schema/schema.fbs. Counts are limited to those of plausible models.
"""

from typing import NamedTuple, cast

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.formats.tflite.flatbuffer import Flatbuffer, Table

MAGIC, MAGIC_AT = b"TFL3", 4
VERSION = 3
MODEL_VERSION, SUBGRAPHS, DESCRIPTION, BUFFERS, METADATA = 0, 2, 3, 4, 6
SUBGRAPH_TENSORS, SUBGRAPH_NAME = 0, 4
SHAPE, TYPE, BUFFER, NAME, QUANTISATION, SPARSITY = 0, 1, 2, 3, 4, 6
SCALE, ZERO_POINT, DETAILS, AXIS = 2, 3, 4, 6
WAYS = {1: "is quantised by a custom method", 2: "is quantised by blocks"}
"""Unsupported quantisations, by the type of their details."""
DATA, OFFSET, SIZE = 0, 1, 2
TEXT_NAME, TEXT_BUFFER = 0, 1
SUBGRAPH_LIMIT, TENSOR_LIMIT, BUFFER_LIMIT = 10_000, 50_000, 400_000
RANK_LIMIT = 32
RUNTIME, VERSION_LIMIT = "min_runtime_version", 64
"""The key of the only metadata that is read, and its maximum size in bytes."""


class Codes(NamedTuple):
    """A quantisation, `(code - zero) * scale`, with one scale and zero for all numbers, or one per index of an axis."""

    scales: tuple[float, ...]
    zeros: tuple[int, ...]
    axis: int


class TensorEntry(NamedTuple):
    """A tensor as described in the file; `where` is its byte range, None if the tensor is computed."""

    name: str
    shape: tuple[int, ...]
    type: int
    where: ByteRange | None
    codes: Codes | None
    unread: str | None


class Model(NamedTuple):
    """The tensors and metadata of a model, without the numbers."""

    tensors: list[TensorEntry]
    texts: dict[str, str]


def read_model(file: CheckpointFile) -> Model:
    """Read the tables of a model.

    Raises:
        CorruptCheckpoint: it is damaged or truncated.
        FormatError: its version is not supported, or it has too many tensors.
    """
    root = Flatbuffer(file).root()
    if (version := root.number(MODEL_VERSION, "I")) != VERSION:
        raise FormatError(
            f"{file.path}: version {version} of TensorFlow Lite's files is not supported, expected {VERSION}"
        )
    buffers = list(root.tables(BUFFERS, BUFFER_LIMIT))
    places: dict[int, ByteRange | None] = {}
    tensors: list[TensorEntry] = []
    for count, graph in enumerate(root.tables(SUBGRAPHS, SUBGRAPH_LIMIT)):
        within = f"{graph.text(SUBGRAPH_NAME) or f'subgraph{count}'}/" if count else ""
        for table in graph.tables(SUBGRAPH_TENSORS, TENSOR_LIMIT - len(tensors)):
            number = table.number(BUFFER, "I")
            if number not in places:
                places[number] = _bytes_of(file, buffers, number)
            tensors.append(_tensor(file, table, within, places[number]))
    return Model(tensors, _texts(file, root, buffers))


def _bytes_of(file: CheckpointFile, buffers: list[Table], number: int) -> ByteRange | None:
    """Return the byte range of a buffer, which may be after the tables; None if it has no bytes."""
    if number >= len(buffers):
        raise CorruptCheckpoint(f"{file.path}: a tensor refers to buffer {number}, but there are {len(buffers)}")
    if not number:
        return None  # the buffer of all computed tensors
    offset, size = buffers[number].number(OFFSET, "Q"), buffers[number].number(SIZE, "Q")
    if offset > 1:
        buffers[number].buffer.require(size, offset)
        return ByteRange(offset, size)
    found = buffers[number].vector(DATA, 1)
    return ByteRange(found.at, found.length) if found else None


def _tensor(file: CheckpointFile, table: Table, within: str, where: ByteRange | None) -> TensorEntry:
    name, shape = within + table.text(NAME), table.numbers(SHAPE, "i")
    sizes = cast(tuple[int, ...], shape)
    if where is None:
        return TensorEntry(name, sizes, table.number(TYPE, "b"), None, None, None)
    if len(sizes) > RANK_LIMIT or not is_possible(sizes):
        raise CorruptCheckpoint(f"{file.path}: {name} has the impossible shape {list(sizes)[:RANK_LIMIT]}")
    if not where.size and 0 not in sizes:
        where = None
    codes, unread = _codes(file, name, sizes, table.table(QUANTISATION))
    if table.place(SPARSITY) is not None:
        unread = "is sparse"
    return TensorEntry(name, sizes, table.number(TYPE, "b"), where, codes, unread)


def _codes(
    file: CheckpointFile, name: str, shape: tuple[int, ...], table: Table | None
) -> tuple[Codes | None, str | None]:
    """Return the quantisation of a tensor (None if it has none), and the reason if it is not supported."""
    if table is None:
        return None, None
    if details := table.number(DETAILS, "B"):
        return None, WAYS.get(details, "is quantised in an unknown way")
    if not (scales := cast(tuple[float, ...], table.numbers(SCALE, "f"))):
        return None, None
    zeros, axis = cast(tuple[int, ...], table.numbers(ZERO_POINT, "q")) or (0,), table.number(AXIS, "i")
    whole = len(scales) == 1
    if not whole and not (0 <= axis < len(shape) and len(scales) == shape[axis]):
        raise CorruptCheckpoint(f"{file.path}: {name} has {len(scales)} scales for axis {axis} of {list(shape)}")
    if len(zeros) not in (1, len(scales)):
        raise CorruptCheckpoint(f"{file.path}: {name} has {len(zeros)} zero points for {len(scales)} scales")
    return Codes(scales, zeros, axis), None


def _texts(file: CheckpointFile, root: Table, buffers: list[Table]) -> dict[str, str]:
    """Return the description of a model, and the minimum version of the runtime, if they exist."""
    texts = {"description": root.text(DESCRIPTION)}
    for table in root.tables(METADATA, BUFFER_LIMIT):
        where = _bytes_of(file, buffers, table.number(TEXT_BUFFER, "I")) if table.text(TEXT_NAME) == RUNTIME else None
        if where and where.size <= VERSION_LIMIT:
            texts[RUNTIME] = file.piece(where.size, where.offset).rstrip(b"\0").decode("utf-8", "backslashreplace")
    return {key: text for key, text in texts.items() if text}
