"""TensorFlow Lite's `.tflite`, without TensorFlow: its constants; quantised ones are dequantised."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ckpttool.core.dtypes import BY_NAME, STRING
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Format
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation
from ckpttool.formats.tflite.model import MAGIC, MAGIC_AT, Codes, TensorEntry, read_model
from ckpttool.formats.tflite.values import QUANTISED, Stored, dequantised, read_texts, unpacked_numbers

TYPES = {
    **{0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool", 7: "int16"},
    **{8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16"},
    **{17: "int4", 18: "bfloat16", 20: "uint4"},
}
"""The types of numbers (TensorType)."""
UNREAD = {13: "RESOURCE", 14: "VARIANT", 19: "INT2"}
FLOAT32 = BY_NAME["float32"]


class TfliteTensors(RawTensors):
    """The constant tensors of a model by name; unsupported ones are skipped, and listed in `left_out`."""

    def __init__(self, path: Path) -> None:
        """Read the tables of a model.

        Raises:
            CorruptCheckpoint: it is damaged or truncated, or the size of a tensor does not fit its shape.
            FormatError: see `read_model`.
        """
        super().__init__()
        self._file = CheckpointFile(path)
        self._streams: dict[str, Callable[[], Iterator[memoryview]]] = {}
        self._names: Counter[str] = Counter()
        self._seen: set[tuple[str, ByteRange]] = set()
        model = read_model(self._file)
        self._texts, left_out = model.texts, []
        for number, entry in enumerate(model.tensors):
            if entry.where is None or (entry.name, entry.where) in self._seen:
                continue  # computed, or listed by several subgraphs
            self._seen.add((entry.name, entry.where))
            name = self._free(entry.name or f"tensor{number}")
            why = entry.unread or (None if entry.type in TYPES else f"has type {entry.type}, {_named(entry.type)}")
            if why:
                left_out.append(f"{name} ({why}: not supported)")
            else:
                self._add(name, entry, entry.where)
        _require_apart(self._file, self._seen)
        self.require_few_repeats(path)
        self.metadata, self.left_out = self._texts, tuple(left_out)

    def _free(self, name: str) -> str:
        """Return the name, with a number if another tensor has it."""
        free = name
        while free in self.locations:
            self._names[name] += 1
            free = f"{name}_{self._names[name]}"
        return free

    def _add(self, name: str, entry: TensorEntry, where: ByteRange) -> None:
        stored = Stored(TensorSpec(name, entry.shape, BY_NAME[TYPES[entry.type]]), where.offset)
        dtype, nbytes = stored.spec.dtype, stored.taken(stored.spec.elements)
        if dtype is not STRING and where.size != nbytes:
            raise CorruptCheckpoint(
                f"{self._file.path}: {name} is declared as {dtype} {list(entry.shape)}, {nbytes} bytes, but "
                f"{where.size} are "
                f"there"
            )
        codes = entry.codes if dtype.name in QUANTISED else None
        spec = TensorSpec(name, entry.shape, FLOAT32) if codes else stored.spec
        self.locations[name] = TensorLocation(self._file, spec, where.offset)
        if dtype is STRING:
            self.coded[name] = partial(read_texts, self._file, spec, where)
        elif codes:
            self._streams[name] = partial(dequantised, self._file, stored, codes)
            self.coded[name] = partial(_gathered, spec, self._streams[name])
            self._texts[f"quantization.{name}"] = _told(dtype.name, codes)
        elif stored.packed:
            self.coded[name] = partial(unpacked_numbers, self._file, stored)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._streams:
            return super().__getitem__(name)
        return Tensor(self.locations[name].spec, self.coded[name], self._streams[name])


class Tflite(Format):
    """The format of TensorFlow Lite, LiteRT."""

    NAME = "tflite"
    CHECKSUMS = False
    FRAMEWORK = "tflite"
    LIMITS = "is read only, its constants, quantised ones as float32: save safetensors, or a bundle; keeps no checksums"
    WRITES = False
    INSTEAD = "models of TensorFlow Lite are read only; `to` safetensors keeps the same tensors, codes as their numbers"
    HOLDS = frozenset(TYPES.values())

    def recognises(self, path: Path) -> bool:
        """Return whether a file has TensorFlow Lite's identifier."""
        if not path.is_file():
            return False
        file = CheckpointFile(path)
        return file.size >= MAGIC_AT + len(MAGIC) and file.piece(len(MAGIC), MAGIC_AT) == MAGIC

    def open(self, path: Path) -> TfliteTensors:
        """Return the constants; raises the same errors as `TfliteTensors`."""
        return TfliteTensors(path)


def _named(number: int) -> str:
    return UNREAD.get(number, "unknown")


def _told(dtype: str, codes: Codes) -> str:
    """Return a tensor's quantisation as JSON."""
    scales = [float(f"{scale:.9g}") for scale in codes.scales]  # the fewest digits that determine a float32
    zeros = [*codes.zeros]
    return json.dumps({"dtype": dtype, "scales": scales, "zero_points": zeros, "axis": codes.axis})


def _require_apart(file: CheckpointFile, places: set[tuple[str, ByteRange]]) -> None:
    """Check that the byte ranges of tensors do not overlap, unless they are equal."""
    before, other = ByteRange(0, 0), ""
    for where, name in sorted({where: name for name, where in places if where.size}.items()):
        if where.offset < before.offset + before.size:
            raise CorruptCheckpoint(f"{file.path}: {name} begins at byte {where.offset}, within {other}")
        before, other = where, name


def _gathered(spec: TensorSpec, stream: Callable[[], Iterator[memoryview]]) -> Array:
    return gathered(stream(), spec.nbytes).view("<f4").astype(np.float32, copy=False).reshape(spec.shape)
