"""Read GGUF, the files of llama.cpp, without the gguf package; quantised tensors become float32."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Format
from ckpttool.formats.gguf.blocks import PACKED, Packed
from ckpttool.formats.gguf.header import MAGIC, TensorInfo, read_header
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation

FLOAT32 = BY_NAME["float32"]
PLAIN = {
    **{0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64"},
    30: "bfloat16",
}
"""The types that are not quantised, by number (ggml_type)."""
UNREAD = {9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 13: "Q5_K", 15: "Q8_K", 20: "IQ4_NL", 23: "IQ4_XS", 39: "MXFP4"}
"""The names of some unsupported types of blocks, for messages."""
STEP = 1 << 20
"""The number of values that are dequantised at a time."""


class GgufTensors(RawTensors):
    """The tensors of a file by name; those of an unsupported type are skipped, and listed in `left_out`."""

    def __init__(self, path: Path) -> None:
        """Read everything before the data.

        Raises:
            CorruptCheckpoint: the file is damaged or truncated.
            FormatError: two tensors have the same name; or see `read_header`.
        """
        super().__init__()
        file = CheckpointFile(path)
        header = read_header(file)
        self.metadata = header.metadata
        self._packed: dict[str, Packed] = {}
        names: set[str] = set()
        places, left_out = [], []
        for info in header.tensors:
            if info.name in names:
                raise FormatError(f"{path}: two tensors are named {info.name}")
            names.add(info.name)
            if info.type not in PLAIN and info.type not in PACKED:
                left_out.append(
                    f"{info.name} (has type {info.type}, {UNREAD.get(info.type, 'unknown')}: not supported)"
                )
                continue
            nbytes, start = self._add(file, info, header.data), header.data + info.offset
            places.append((start, start + nbytes, info.name))
        _require_apart(file, places)
        self.left_out = tuple(left_out)

    def _add(self, file: CheckpointFile, info: TensorInfo, data: int) -> int:
        """Add a tensor, and return its size in the file in bytes."""
        packed = PACKED.get(info.type)
        spec = TensorSpec(info.name, info.shape, FLOAT32 if packed else BY_NAME[PLAIN[info.type]])
        self.locations[info.name] = TensorLocation(file, spec, data + info.offset)
        if packed is None:
            return spec.nbytes
        if not info.shape or info.shape[-1] % packed.numbers:
            raise CorruptCheckpoint(
                f"{file.path}: {info.name} has the shape {list(info.shape)}, but rows of {packed.name} are multiples "
                f"of {packed.numbers}"
            )
        self._packed[info.name] = packed
        self.coded[info.name] = partial(_unpacked, self.locations[info.name], packed)
        return spec.elements // packed.numbers * packed.nbytes

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._packed:
            return super().__getitem__(name)
        location, packed = self.locations[name], self._packed[name]
        return Tensor(location.spec, self.coded[name], partial(_pieces, location, packed))


class Gguf(Format):
    """The format of llama.cpp."""

    NAME = "gguf"
    CHECKSUMS = False
    LIMITS = "is read only, numbers packed in blocks as float32: save safetensors; keeps no checksums"
    WRITES = False
    INSTEAD = "GGUF files are read only; `to` safetensors keeps the same tensors, unpacked"
    HOLDS = frozenset(PLAIN.values())

    def recognises(self, path: Path) -> bool:
        """Return whether a file starts with the magic number."""
        if not path.is_file():
            return False
        file = CheckpointFile(path)
        return file.size >= len(MAGIC) and file.piece(len(MAGIC), 0) == MAGIC

    def open(self, path: Path) -> GgufTensors:
        """Return the tensors; for errors see `GgufTensors`."""
        return GgufTensors(path)


def _require_apart(file: CheckpointFile, places: list[tuple[int, int, str]]) -> None:
    """Check that all tensors are within the file and do not overlap."""
    before, other = 0, ""
    for start, end, name in sorted(places):
        if end > file.size:
            raise CorruptCheckpoint(
                f"{file.path}: {name} ends at byte {end}, the file has {file.size}: it is damaged or truncated"
            )
        if start < before and start < end:
            raise CorruptCheckpoint(f"{file.path}: {name} begins at byte {start}, within {other}")
        before, other = max(before, end), name


def _pieces(place: TensorLocation, packed: Packed) -> Iterator[memoryview]:
    """Yield a tensor's values as little-endian float32 bytes, `STEP` values at a time."""
    file, spec = place.opened(), place.spec
    stored = ByteRange(place.offset, spec.elements // packed.numbers * packed.nbytes)
    for raw in file.stream(spec.name, stored, STEP // packed.numbers * packed.nbytes):
        with np.errstate(all="ignore"):  # a damaged scale may be anything
            numbers = packed.unpack(np.frombuffer(raw, np.uint8).reshape(-1, packed.nbytes))
        yield numbers.astype("<f4", copy=False).reshape(-1).view(np.uint8).data
    file.require_unchanged()


def _unpacked(place: TensorLocation, packed: Packed) -> Array:
    raw = gathered(_pieces(place, packed), place.spec.nbytes)
    return raw.view("<f4").astype(np.float32, copy=False).reshape(place.spec.shape)
