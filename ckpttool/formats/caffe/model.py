"""Parse the layers and blobs of a `.caffemodel` (NetParameter in caffe.proto), in all three versions of the schema.

The file is one Protocol Buffers message, whose fields are iterated; the values of a blob are read on access.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ckpttool.core.dtypes import BY_NAME, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.reading import wire_fields
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.wire_fields import BYTES, FIXED32, VARINT, WireField
from ckpttool.formats.wire import varint

NET_NAME, V1_LAYER, LAYER = 1, 2, 100
KINDS = {
    **dict.fromkeys((NET_NAME, V1_LAYER, 3, 6, 8, LAYER), (BYTES,)),
    **{4: (VARINT, BYTES), 5: (VARINT,), 7: (VARINT,)},
}
"""The fields of a NetParameter, with their wire types."""
V0_LAYER = 1
"""The field of a V1LayerParameter that contains the layer, in the oldest files."""
BATCH_NORM, EPSILON, DEFAULT_EPSILON = 139, 3, 1e-5
INNER_PRODUCT, TRANSPOSED = 117, 6
LEGACY_SIZES, DATA, SHAPE, DOUBLES, RAW_TYPE, RAW = (1, 2, 3, 4), 5, 7, 8, 10, 12
"""Fields of a BlobProto; the last two are NVIDIA's."""
NUMBERS = {DATA: "float32", DOUBLES: "float64"}
RAW_TYPES = {0: "float64", 1: "float32", 2: "float16"}
V1_CONVOLUTIONS = (4, 39)
FIELD_LIMIT = 1 << 20
"""The maximum number of fields that are read; a network has a few per layer."""
NAME_LIMIT, RANK_LIMIT = 64 << 10, 32


class Dialect(NamedTuple):
    """The field numbers of a layer message."""

    name: int
    type: int
    blobs: int


V0, V1, V2 = Dialect(1, 2, 50), Dialect(4, 5, 6), Dialect(1, 2, 7)


class Blob(NamedTuple):
    """A blob, and the byte ranges of its values, which may be stored in several fields."""

    spec: TensorSpec
    pieces: tuple[WireField, ...]


class Layer(NamedTuple):
    """A layer with blobs, its normalisation's epsilon, and whether its matrix has the input axis first."""

    blobs: list[Blob]
    epsilon: float | None
    transposed: bool


class Model(NamedTuple):
    """The name of a network, its layers with blobs by name, and descriptions of blobs that are not supported."""

    name: str
    layers: dict[str, Layer]
    left_out: list[str]


def is_model(file: CheckpointFile) -> bool:
    """Return whether a file parses as a NetParameter up to the first blob with values.

    TensorFlow's graphs also begin with field 1, which is a message there, not a name, or is repeated.
    """
    walk, names = Walk(file), 0
    try:
        for field in walk.top():
            if field.number == NET_NAME:
                names += 1
                if names > 1 or not walk.text(field).isprintable():
                    return False
            for dialect, layer in walk.layers(field):
                blobs = (part for part in walk.fields(layer) if part.number == dialect.blobs and part.kind == BYTES)
                if any(part.number in NUMBERS and part.kind == BYTES for blob in blobs for part in walk.fields(blob)):
                    return True
    except FormatError:
        pass
    return False


def read_model(file: CheckpointFile) -> Model:
    """Find the blobs of all layers.

    Raises:
        CorruptCheckpoint: the file is damaged or truncated, or the size of a blob does not match its shape.
        FormatError: two layers with blobs have the same name, or there are more than `FIELD_LIMIT` fields.
    """
    if not file.size:
        raise CorruptCheckpoint(f"{file.path} is empty")
    walk, model = Walk(file), Model("", {}, [])
    for field in walk.top():
        if field.number == NET_NAME:
            model = model._replace(name=walk.text(field))
        for dialect, message in walk.layers(field):
            name, layer = _layer(walk, dialect, message, model.left_out)
            if layer.blobs and name in model.layers:
                raise FormatError(f"{file.path}: two layers with blobs are named {name}")
            if layer.blobs:
                model.layers[name] = layer
    return model


class Walk:
    """An iterator over the fields of a file's messages, limited to `FIELD_LIMIT` fields in total."""

    def __init__(self, file: CheckpointFile) -> None:
        """Begin without having read any field."""
        self.file, self._left = file, FIELD_LIMIT

    def top(self) -> Iterator[WireField]:
        """Yield the fields of the network."""
        for field in self._between(0, self.file.size):
            if field.kind not in KINDS.get(field.number, ()):
                raise CorruptCheckpoint(
                    f"{self.file.path} is not a model of Caffe: no known field begins at byte {field.at}"
                )
            yield field

    def layers(self, field: WireField) -> Iterator[tuple[Dialect, WireField]]:
        """Yield the layers that a field of the network contains, if any, with the field numbers of their schema."""
        if field.number == LAYER:
            yield V2, field
        elif field.number == V1_LAYER:
            inner = [part for part in self.fields(field) if part.number == V0_LAYER and part.kind == BYTES]
            yield from ((V0, part) for part in inner) if inner else ((V1, field),)

    def fields(self, message: WireField) -> Iterator[WireField]:
        """Yield the fields of a message."""
        return self._between(message.start, message.end)

    def text(self, field: WireField) -> str:
        """Return the text of a field."""
        size = field.end - field.start
        if field.kind != BYTES or size > NAME_LIMIT:
            raise CorruptCheckpoint(f"{self.file.path}: expected a name at byte {field.at}")
        return self.file.piece(size, field.start).decode("utf-8", "backslashreplace")

    def integers(self, field: WireField) -> tuple[int, ...]:
        """Return the integers of a field, which may be packed."""
        size = field.end - field.start
        if field.kind not in (VARINT, BYTES) or size > NAME_LIMIT:
            raise CorruptCheckpoint(f"{self.file.path}: expected sizes at byte {field.at}")
        raw, at, found = self.file.piece(size, field.start), 0, []
        try:
            while at < len(raw):
                value, at = varint.decode(raw, at, len(raw))
                found.append(value)
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.file.path}: sizes at byte {field.at} are damaged: {error}") from error
        return tuple(found)

    def _between(self, start: int, end: int) -> Iterator[WireField]:
        for field in wire_fields.fields(self.file, start, end):
            self._left -= 1
            if self._left < 0:
                raise FormatError(f"{self.file.path}: it has more than {FIELD_LIMIT:,} fields, the limit")
            yield field


def _layer(walk: Walk, dialect: Dialect, message: WireField, left_out: list[str]) -> tuple[str, Layer]:
    parts = list(walk.fields(message))
    name = "".join(walk.text(part) for part in parts if part.number == dialect.name)
    kinds = [part for part in parts if part.number == dialect.type]
    if dialect is V1:
        convolution = any(set(walk.integers(kind)) & set(V1_CONVOLUTIONS) for kind in kinds)
    else:
        convolution = any("conv" in walk.text(kind).lower() for kind in kinds)
    found = []
    for count, part in enumerate(each for each in parts if each.number == dialect.blobs):
        blob = _blob(walk, f"{name}/{count}", part, convolution and not count)
        if isinstance(blob, str):
            left_out.append(blob)
        else:
            found.append(blob)
    epsilon = DEFAULT_EPSILON if any(walk.text(kind) == "BatchNorm" for kind in kinds if dialect is V2) else None
    transposed = False
    for part in parts if dialect is V2 else ():
        if part.number == BATCH_NORM:
            epsilon = _float(walk, part, EPSILON, DEFAULT_EPSILON)
        if part.number == INNER_PRODUCT:
            transposed = any(any(walk.integers(each)) for each in walk.fields(part) if each.number == TRANSPOSED)
    return name, Layer(found, epsilon, transposed)


def _float(walk: Walk, message: WireField, number: int, default: float) -> float:
    for part in walk.fields(message):
        if part.number == number and part.kind == FIXED32:
            (default,) = struct.unpack("<f", walk.file.piece(4, part.start))
    return default


def _blob(walk: Walk, name: str, message: WireField, kernel: bool) -> Blob | str:
    """Return a blob, or a line that says why it is not supported."""
    if message.kind != BYTES:
        raise CorruptCheckpoint(f"{walk.file.path} is damaged: expected a blob at byte {message.at}")
    parts = list(walk.fields(message))
    shape = _shape(walk, parts, kernel)
    if len(shape) > RANK_LIMIT or not is_possible(shape):
        raise CorruptCheckpoint(f"{walk.file.path}: {name} has the impossible shape {list(shape)[:RANK_LIMIT]}")
    dtype = _dtype(walk, parts)
    if isinstance(dtype, str):
        return f"{name} ({dtype}: not supported)"
    pieces = tuple(part for part in parts if part.number in (DATA, DOUBLES, RAW))
    spec = TensorSpec(name, shape, dtype)
    if any(part.kind != BYTES for part in pieces):
        return f"{name} (each number in a separate field: not supported)"
    held = sum(part.end - part.start for part in pieces)
    if held != spec.nbytes:
        raise CorruptCheckpoint(
            f"{walk.file.path}: {name} is declared as {dtype} {list(shape)}, {spec.nbytes} bytes, but {held} are there "
        )
    return Blob(spec, pieces)


def _shape(walk: Walk, parts: list[WireField], kernel: bool) -> tuple[int, ...]:
    """Return the shape of a blob; the four sizes of old files lose leading 1s, except for convolution kernels."""
    said = [part for part in parts if part.number == SHAPE]
    if said:
        sizes = [each for part in said for each in walk.fields(part) if each.number == 1]
        return tuple(size for each in sizes for size in walk.integers(each))
    old = {part.number: walk.integers(part)[-1:] for part in parts if part.number in LEGACY_SIZES}
    if not old:
        return ()
    four = tuple(size for number in LEGACY_SIZES for size in old.get(number) or (0,))
    first = 0 if kernel else next((axis for axis, size in enumerate(four[:-1]) if size != 1), 3)
    return four[first:]


def _dtype(walk: Walk, parts: list[WireField]) -> DType | str:
    """Return the dtype of a blob, or a line that says why it is not supported."""
    lists = {part.number for part in parts if part.number in (DATA, DOUBLES, RAW)}
    if len(lists) > 1:
        raise CorruptCheckpoint(
            f"{walk.file.path}: the blob that ends at byte {parts[-1].end} contains its numbers twice"
        )
    if lists != {RAW}:
        return BY_NAME[NUMBERS[lists.pop()] if lists else "float32"]
    types = [number for part in parts if part.number == RAW_TYPE for number in walk.integers(part)]
    kind = types[-1] if types else 0
    return BY_NAME[RAW_TYPES[kind]] if kind in RAW_TYPES else f"has raw numbers of type {kind}"
