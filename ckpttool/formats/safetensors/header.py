"""The header of a safetensors file: the tensors and their offsets, with every number checked before it is used.

The rules are those of https://github.com/huggingface/safetensors#format, which its own reader checks only in part.
"""

import json
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NAME, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.wire import strict_json

LENGTH = 8
"""Size in bytes of the header's length, a little-endian number; a header is padded to a multiple of it."""
HEADER_LIMIT = 100_000_000
RANK_LIMIT = 64
"""Maximum number of dimensions of NumPy's arrays."""
SIZE_LIMIT = 1 << 63
METADATA = "__metadata__"
FIELDS = {"dtype", "shape", "data_offsets"}
NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
"""The format's names of dtypes, in its order of alignment: tensors of the last ones come first in a file."""
DTYPES = {text: BY_NAME[name] for text, name in NAMES.items()}
TEXTS = {dtype: text for text, dtype in DTYPES.items()}
UNREAD = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
"""Dtypes of the format without a counterpart in TensorFlow's checkpoints, and the bits of an element."""


class Header(NamedTuple):
    """Tensors with the offset of their first byte in the file, in the order of their bytes, and the metadata's texts.

    `unread` maps the names of tensors with unsupported dtypes to these.
    """

    locations: dict[str, tuple[TensorSpec, int]]
    metadata: dict[str, str]
    unread: Mapping[str, str] = MappingProxyType({})


def is_safetensors(start: bytes) -> bool:
    """Return whether a file with these first nine bytes may be a safetensors file.

    >>> is_safetensors(bytes([16, 0, 0, 0, 0, 0, 0, 0]) + b"{"), is_safetensors(bytes(9))
    (True, False)
    """
    return start[LENGTH:] == b"{" and int.from_bytes(start[:LENGTH], "little") <= HEADER_LIMIT


def read_header(file: CheckpointFile) -> Header:
    """Read a header and check it against the file's size.

    Raises:
        CorruptCheckpoint: it breaks a rule of the format, or the file is truncated.
        FormatError: a tensor has a dtype unknown to the format.
    """
    header, start = _parsed(file)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise CorruptCheckpoint(f"{file.path}: {METADATA} is {str(metadata)[:80]}, expected an object of texts")
    reader = _Reader(file, start)
    places = reader.locations({name: reader.tensor(name, description) for name, description in header.items()})
    unread = {name: place for name, place in places.items() if isinstance(place, str)}
    return Header({name: place for name, place in places.items() if not isinstance(place, str)}, metadata, unread)


def readable_header(file: CheckpointFile) -> tuple[Header, dict[str, str]]:
    """Read the header of a truncated file: the tensors whose bytes are there, and why the others are lost.

    Raises:
        CorruptCheckpoint: the header itself cannot be read.
    """
    header, start = _parsed(file)
    metadata = header.pop(METADATA, {})
    texts = {key: text for key, text in metadata.items() if isinstance(text, str)} if isinstance(metadata, dict) else {}
    reader = _Reader(file, start)
    found: dict[str, tuple[TensorSpec, int]] = {}
    lost: dict[str, str] = {}
    for name, description in header.items():
        try:
            spec, begin, end = reader.tensor(name, description)
        except FormatError as error:
            lost[name] = str(error).removeprefix(f"{file.path}: ")
            continue
        if isinstance(spec, str):
            lost[name] = f"it is {spec}, which is not supported"
        elif start + end > file.size:
            lost[name] = f"it ends at byte {start + end}, and {file.path.name} has {file.size}: it is truncated"
        else:
            found[name] = (spec, start + begin)
    return Header(found, texts), lost


def encode(specs: Iterable[TensorSpec], metadata: Mapping[str, str], size: int = 0) -> bytes:
    """Return the header of a file with tensors in this order, as the safetensors package writes it.

    The tensors have passed `require_writable`. A header of fewer than `size` bytes is filled up with spaces.

    Raises:
        FormatError: the header would be too large.
    """
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for spec in specs:
        offsets = [end, end := end + spec.nbytes]
        header[spec.name] = {"dtype": TEXTS[spec.dtype], "shape": list(spec.shape), "data_offsets": offsets}
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * max(-len(raw) % LENGTH, size - LENGTH - len(raw))
    if len(raw) > HEADER_LIMIT:
        raise FormatError(f"a safetensors header of {len(raw)} bytes is too large, at most {HEADER_LIMIT} are read")
    return len(raw).to_bytes(LENGTH, "little") + raw


def require_writable(spec: TensorSpec) -> None:
    """Check that a safetensors file can store a tensor.

    Raises:
        FormatError: it cannot store the dtype or the name; the message names the tensor.
    """
    if spec.dtype not in TEXTS:
        helps = "; `cast` changes it" if spec.dtype.itemsize else ""
        raise FormatError(f"{spec.name} is {spec.dtype}, which a safetensors file cannot store{helps}")
    try:
        spec.name.encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"a safetensors file cannot store a tensor named {spec.name!r}: it is not valid text"
        ) from error
    if spec.name == METADATA:
        raise FormatError(f"a safetensors file cannot store a tensor named {METADATA}: the name is reserved")


def _parsed(file: CheckpointFile) -> tuple[dict[str, Any], int]:
    """Return the contents of a file's header, and the offset of the tensors' bytes."""
    raw = _raw(file)
    try:
        header = strict_json.parse(raw)
    except ValueError as error:
        raise CorruptCheckpoint(f"{file.path}: the header is not valid JSON in UTF-8: {error}") from error
    return header, LENGTH + len(raw)


def _raw(file: CheckpointFile) -> bytes:
    if file.size < LENGTH:
        raise CorruptCheckpoint(
            f"{file.path} has {file.size} bytes, fewer than the length of a header: it is truncated"
        )
    size = int.from_bytes(file.piece(LENGTH, 0), "little")
    if size > HEADER_LIMIT:
        raise CorruptCheckpoint(
            f"{file.path}: the header has a declared length of {counted(size, 'byte')}, at most {HEADER_LIMIT} are read"
        )
    if LENGTH + size > file.size:
        raise CorruptCheckpoint(f"{file.path}: the header ends at byte {LENGTH + size}, the file has {file.size}")
    raw = file.piece(size, LENGTH)
    if not raw.startswith(b"{"):
        raise CorruptCheckpoint(f"{file.path}: the header begins with {raw[:1]!r}, expected b'{{'")
    return raw


class _Reader:
    """Converts the contents of a header to checked tensors."""

    def __init__(self, file: CheckpointFile, start: int) -> None:
        self._file = file
        self._start = start

    def tensor(self, name: str, description: Any) -> tuple[TensorSpec | str, int, int]:
        """Return a tensor, or its unsupported dtype, with the first and the last offset of its bytes."""
        if not isinstance(description, dict) or description.keys() != FIELDS:
            self._fail(name, f"is declared as {str(description)[:80]}, expected {', '.join(sorted(FIELDS))}")
        shape, dtype = self._shape(name, description["shape"]), self._dtype(name, description["dtype"])
        offsets = description["data_offsets"]
        if not _are_sizes(offsets) or len(offsets) != 2:
            self._fail(name, f"has the offsets {str(offsets)[:80]}, expected two numbers")
        start, end = offsets
        bits = UNREAD[dtype] if isinstance(dtype, str) else 8 * dtype.itemsize
        if not is_possible(shape, -(-bits // 8)):
            self._fail(name, f"has the impossible shape {list(shape)}")
        nbytes = math.prod(shape) * bits // 8
        if end - start != nbytes:
            self._fail(name, f"is declared with {counted(end - start, 'byte')}, but {dtype} {list(shape)} has {nbytes}")
        return dtype if isinstance(dtype, str) else TensorSpec(name, shape, dtype), start, end

    def locations(
        self, tensors: dict[str, tuple[TensorSpec | str, int, int]]
    ) -> dict[str, tuple[TensorSpec, int] | str]:
        """Check that tensors are contiguous from the header to the end of the file; return their offsets."""
        locations: dict[str, tuple[TensorSpec, int] | str] = {}
        reached = 0
        for name, (spec, start, end) in sorted(tensors.items(), key=lambda item: item[1][1:]):
            if start != reached:
                self._fail(
                    name, f"begins at byte {start} of the data, expected {reached}: there is a gap, or an overlap"
                )
            locations[name] = spec if isinstance(spec, str) else (spec, self._start + start)
            reached = end
        if self._start + reached != self._file.size:
            wanted, size = self._start + reached, self._file.size
            raise CorruptCheckpoint(
                f"{self._file.path} has {size} bytes, expected {wanted} by its header: it is damaged"
            )
        return locations

    def _shape(self, name: str, shape: Any) -> tuple[int, ...]:
        if not _are_sizes(shape):
            self._fail(name, f"has the shape {str(shape)[:80]}, expected a list of sizes")
        if len(shape) > RANK_LIMIT:
            self._fail(name, f"has {counted(len(shape), 'dimension')}, at most {RANK_LIMIT} are supported")
        return tuple(shape)

    def _dtype(self, name: str, dtype: Any) -> DType | str:
        text = str(dtype)[:80]
        if isinstance(dtype, str) and (text in DTYPES or text in UNREAD):
            return DTYPES.get(text, text)
        raise FormatError(f"{self._file.path}: {name} has the dtype {text}, which the format does not have")

    def _fail(self, name: str, what: str) -> NoReturn:
        raise CorruptCheckpoint(f"{self._file.path}: {name} {what}")


def _are_sizes(value: Any) -> bool:
    """Return whether a value is a list of sizes; `True` is not one, nor is `2.0`."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size < SIZE_LIMIT for size in value)
