"""ONNX models: the initialisers of the graph, without the onnx package.

Data may be in files in the model's folder, but not elsewhere (https://onnx.ai/onnx/repo-docs/ExternalData.html).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn

from google.protobuf.message import DecodeError

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import stays_in
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.format import Arrangement, Format
from ckpttool.formats.onnx.arrangement import arrangements
from ckpttool.formats.onnx.model import is_model, read_model
from ckpttool.formats.onnx.values import NUMBERED, array_of, entries, is_packed, list_of, stored_bytes, unpacked
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.raw_tensors import ClosedFile, RawTensors, TensorLocation
from ckpttool.formats.reading.wire_fields import WireField
from ckpttool.formats.wire.protos.onnx_pb2 import TensorProto

SUFFIX = ".onnx"


class Neighbours:
    """The data files in a model's folder; there may be one per tensor."""

    def __init__(self, model: Path) -> None:
        """Store the model's path."""
        self._model = model
        self._files: dict[str, ClosedFile] = {}

    def place(self, name: str, entry: Mapping[str, str], nbytes: int) -> tuple[ClosedFile, int]:
        """Return the file and the offset of a tensor's bytes.

        Raises:
            FormatError: the path is not in the model's folder, or not a file.
            MissingFile: it does not exist.
            CorruptCheckpoint: the file does not contain these bytes, or offset and length are not numbers.
        """
        location = entry.get("location", "")
        file = self._files.get(location) or self._open(name, location)
        self._files[location] = file
        offset = self._number(name, entry.get("offset", "0"))
        length = self._number(name, entry.get("length", str(file.size - offset)))
        if length != nbytes:
            raise CorruptCheckpoint(
                f"{self._model}: {name} has {nbytes} bytes, but {length} are declared in {location}"
            )
        if offset + length > file.size:
            raise CorruptCheckpoint(
                f"{file.path}: {name} ends at byte {offset + length}, the file has {file.size}: it is truncated"
            )
        return file, offset

    def _open(self, name: str, location: str) -> ClosedFile:
        path, folder = PurePosixPath(location), self._model.parent
        leads_away = path.is_absolute() or ".." in path.parts or {"\\", "\0", ":"} & set(location) or not path.parts
        inside = not leads_away and stays_in(folder, folder / path)
        if not inside:
            raise FormatError(
                f"{self._model}: {name} is declared to be in {location[:80]!r}, which is outside of its folder"
            )
        if not (folder / path).exists():
            raise MissingFile(f"{folder / path} is missing: it contains {name} of {self._model.name}")
        if not (folder / path).is_file():
            raise FormatError(f"{folder / path} is not a file, and should contain {name} of {self._model.name}")
        return ClosedFile.of(CheckpointFile(folder / path))

    def _number(self, name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise CorruptCheckpoint(f"{self._model}: {name} has the offset {text[:40]!r}, expected a number of bytes")
        return int(text)


class OnnxTensors(RawTensors):
    """The initialisers of a model by name, in order; constants in nodes are skipped, and listed in `left_out`."""

    def __init__(self, path: Path) -> None:
        """Find the model's initialisers; raises the errors of `read_model`, and FormatErrors of `Neighbours.place`.

        Missing and damaged data files raise errors only when their tensors are read.
        """
        super().__init__()
        file = CheckpointFile(path)
        model = read_model(file)
        self.metadata, self.left_out = model.metadata, model.left_out
        beside = Neighbours(path)
        for name, (spec, message, raw, external) in model.initialisers.items():
            if external is None:
                self.locations[name] = TensorLocation(file, spec, (raw or message).start)
            else:
                try:
                    data_file, offset = beside.place(name, external, stored_bytes(spec))
                except (MissingFile, CorruptCheckpoint) as error:  # other tensors can still be read
                    self.locations[name] = TensorLocation(file, spec, 0)
                    self.coded[name] = partial(_refuse, error)
                    continue
                self.locations[name] = TensorLocation(data_file, spec, offset)
            if not raw and external is None:
                self.coded[name] = partial(_listed, file, spec, message)
            elif is_packed(spec.dtype):
                self.coded[name] = partial(_unpacked, self.locations[name])
        self.require_few_repeats(path)


class Onnx(Format):
    """The format of onnx.ai."""

    NAME = "onnx"
    CHECKSUMS = False
    FRAMEWORK = "onnx"
    LIMITS = "is read only, its graph's initialisers: save safetensors; keeps no checksums"
    WRITES = False
    INSTEAD = "models of ONNX are read only; `to` safetensors keeps the same tensors"
    HOLDS = frozenset(NUMBERED.values())

    def recognises(self, path: Path) -> bool:
        """Return whether all fields of a file are those of a model, or its suffix is .onnx and it is no LFS pointer."""
        if not path.is_file():
            return False
        file = CheckpointFile(path)
        return not file.is_lfs_pointer if path.suffix == SUFFIX else is_model(file)

    def arrangements(self, path: Path) -> Mapping[str, Arrangement]:
        """Return the arrangements of initialisers that the nodes of the main graph imply."""
        return arrangements(CheckpointFile(path))

    def open(self, path: Path) -> OnnxTensors:
        """Return the initialisers; raises the same errors as `OnnxTensors`."""
        return OnnxTensors(path)


def _refuse(error: CkptError) -> NoReturn:
    """Raise the error of a tensor's data file when the tensor is read."""
    raise error


def _listed(file: CheckpointFile, spec: TensorSpec, message: WireField) -> Array:
    """Return a tensor whose numbers are a repeated field of its message."""
    import numpy as np

    listed, count = list_of(spec.dtype), entries(spec)
    raw = file.piece(message.end - message.start, message.start)
    file.require_unchanged()
    try:
        numbers = getattr(TensorProto.FromString(raw), listed.field)
        if len(numbers) != count:
            raise ValueError(
                f"{counted(len(numbers), 'number is', 'numbers are')} there, its shape {list(spec.shape)} needs {count}"
            )
        return array_of(np.fromiter(numbers, listed.numpy, count), spec)
    except (DecodeError, ValueError) as error:
        raise CorruptCheckpoint(f"{file.path}: {spec.name} is damaged: {error}") from error


def _unpacked(place: TensorLocation) -> Array:
    """Return a tensor of 4-bit numbers."""
    import numpy as np

    file = place.opened()
    raw = file.piece(stored_bytes(place.spec), place.offset)
    file.require_unchanged()
    return unpacked(np.frombuffer(raw, np.uint8), place.spec)
