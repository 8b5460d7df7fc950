"""TensorFlow.js: a `model.json` with the layers or the graph of a network, and files with the weights beside it."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import PLAIN, Format, Tensors, Writing
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered, require_truth
from ckpttool.formats.reading.raw_tensors import ClosedFile
from ckpttool.formats.tfjs.manifest import (
    DTYPES,
    LENGTH,
    MODEL,
    RANK_LIMIT,
    SUFFIX,
    TEXTS_LIMIT,
    Group,
    Quantisation,
    groups_of,
    is_model,
    model_of,
    read_document,
    texts_of,
)
from ckpttool.formats.tfjs.topology import described
from ckpttool.formats.tfjs.writing import Names, write_model
from ckpttool.formats.writing.files import refuse_existing

HELD_FILES = 64
"""Up to this number, the files stay open, so that they can be read after others have replaced them."""
FRAMEWORKS = {"layers-model": "keras", "graph-model": "tensorflow"}


class Stretch(NamedTuple):
    """The concatenated files of a group."""

    path: Path
    files: tuple[CheckpointFile | ClosedFile, ...]

    @property
    def size(self) -> int:
        """The total size of the files in bytes."""
        return sum(file.size for file in self.files)

    def stream(self, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a range; `name` is that of the weight, for messages.

        Raises:
            MissingFile: a file no longer exists.
            CorruptCheckpoint: a file has changed.
        """
        for each in self.files:
            begin, end = max(offset, 0), min(offset + size, each.size)
            if begin < end:
                file = each if isinstance(each, CheckpointFile) else CheckpointFile(each.path)
                file.require_unchanged(each.stamp)
                yield from file.stream(name, ByteRange(begin, end - begin))
                file.require_unchanged()
            offset -= each.size

    def piece(self, name: str, offset: int, size: int) -> bytes:
        """Return the bytes of a range at once; raises the same errors as `stream`."""
        return b"".join(self.stream(name, offset, size))


class Place(NamedTuple):
    """A weight, and the place of its bytes in the files of its group."""

    stretch: Stretch
    spec: TensorSpec
    offset: int
    nbytes: int
    quantised: Quantisation | None

    def tensor(self) -> Tensor:
        """Return the tensor, which is read on demand."""
        plain = self.quantised is None and self.spec.dtype is not STRING
        return Tensor(self.spec, self._read, self._pieces if plain else None)

    def _pieces(self) -> Iterator[memoryview]:
        for piece in self.stretch.stream(self.spec.name, self.offset, self.nbytes):
            yield memoryview(require_truth(self.spec, piece, self.stretch.path))

    def _read(self) -> Array:
        if self.spec.dtype is STRING:
            return self._texts()
        if self.quantised is None:
            raw = gathered(self._pieces(), self.nbytes)
            return raw.view(self.spec.dtype.numpy).reshape(self.spec.shape)
        codes = gathered(self.stretch.stream(self.spec.name, self.offset, self.nbytes), self.nbytes)
        return _dequantised(codes.view(self.quantised.code), self.quantised, self.spec)

    def _texts(self) -> Array:
        import numpy as np

        raw, at = self.stretch.piece(self.spec.name, self.offset, self.nbytes), 0
        texts = np.empty(self.spec.elements, object)
        for number in range(self.spec.elements):
            (length,) = struct.unpack_from("<I", raw, at)
            texts[number] = raw[at + LENGTH : at + LENGTH + length]
            at += LENGTH + length
        return texts.reshape(self.spec.shape)


class TfjsTensors(Tensors):
    """The weights of a model.json by name; quantised ones are dequantised as in a browser."""

    def __init__(self, path: Path) -> None:
        """Read the model.json, and compare the sizes of the weights with those of the files.

        Raises:
            MissingFile: a file that it lists does not exist.
            CorruptCheckpoint: it is damaged, or the files have another size than the weights.
            FormatError: a file is in another folder, or a feature is not supported.
        """
        path = model_of(path)
        document = read_document(path)
        self.metadata = texts_of(document)
        self.places: dict[str, Place] = {}
        groups = list(groups_of(path, document))  # all are checked before a file is opened
        hold = sum(len(group.files) for group in groups) <= HELD_FILES
        for group in groups:
            for place in _places(path, group, hold):
                if place.spec.name in self.places:
                    raise CorruptCheckpoint(f"{path}: two weights are named {place.spec.name}")
                self.places[place.spec.name] = place

    def __getitem__(self, name: str) -> Tensor:
        return self.places[name].tensor()

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Tfjs(Format):
    """The models of TensorFlow.js."""

    NAME = "tfjs"
    CHECKSUMS = False
    SUFFIXES = (SUFFIX,)
    LIMITS = "a model.json, of weights alone or with the network of `like`, and files beside it; keeps no checksums"
    HOLDS = frozenset(DTYPES)
    DIMENSIONS = RANK_LIMIT
    OPTIONS = frozenset({"like", "shard_bytes"})
    IN_FOLDER = (MODEL,)

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a JSON object that lists weights, or a folder with such a model.json."""
        return is_model(path)

    def open(self, path: Path) -> TfjsTensors:
        """Return the weights; raises the same errors as `TfjsTensors`."""
        return TfjsTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a model.json and its files, with the network of `like`, or of the tensors' own model.

        Raises:
            PlanError: the tensors are not the weights of the network.
            FormatError: the format does not support a tensor's dtype or name, or the path has another suffix.
        """
        for tensor in tensors.values():
            _require_writable(self, tensor)
        if path.suffix != SUFFIX:
            raise FormatError(f"{path} is not named as a model of TensorFlow.js is: {path / MODEL}, in a folder")
        document, weights = described(tensors, path, how)
        write_model(weights, document, path, how.shard_bytes)

    def outputs(self, path: Path) -> list[Path]:
        """Return the model.json, and the weights files with names derived from its name."""
        return [path, *(shard for shard, *_ in Names(path).shards())] if is_file(path) else [path]

    def check(self, path: Path, overwrite: bool) -> None:
        """Check that an output may be written; weights files without a model.json count as existing output."""
        refuse_existing([path, *(shard for shard, *_ in Names(path).shards())], overwrite)

    def framework(self, tensors: Tensors) -> str | None:
        """Return `keras` for a layers model, `tensorflow` for a graph model, else None."""
        return FRAMEWORKS.get(tensors.metadata.get("format", ""))

    def files_beside(self, path: Path) -> list[Path]:
        """Return the files that an existing model.json lists."""
        return _named(path) if path.name == MODEL else []

    def files_named_in(self, folder: Path) -> list[Path]:
        """Return the files that the model.json of a folder lists."""
        return _named(folder / MODEL)


def _require_writable(format_: Format, tensor: Tensor) -> None:
    """Check that a model.json can contain a tensor.

    Raises:
        FormatError: the format does not support the dtype or the name; the message names the tensor.
    """
    if tensor.dtype.name not in format_.HOLDS:
        helps = "; `cast` changes it" if tensor.dtype.itemsize else ""
        raise FormatError(f"{tensor.name} is {tensor.dtype}, which no weight of TensorFlow.js is{helps}")
    try:
        tensor.name.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"a model.json cannot hold a tensor named {tensor.name!r}: it is not text") from error


def _named(path: Path) -> list[Path]:
    if not path.is_file():
        return []
    try:
        return [file for group in groups_of(path, read_document(path)) for file in group.files]
    except FormatError:
        return []  # opening the model reports it


def _places(path: Path, group: Group, hold: bool) -> Iterator[Place]:
    """Yield the weights of a group with their places, and check that they fill its files, which may be kept open."""
    files = map(CheckpointFile, group.files)
    stretch = Stretch(path, tuple(files if hold else map(ClosedFile.of, files)))
    size, at, raw = stretch.size, 0, None
    for weight in group.weights:
        nbytes = weight.nbytes
        if nbytes is None:
            raw = _whole(stretch, weight.spec.name) if raw is None else raw
            nbytes = _length_of_texts(path, raw, weight.spec, at)
        if at + nbytes > size:
            raise CorruptCheckpoint(
                f"{path}: {weight.spec.name} ends at byte {at + nbytes} of its files, which have {size}: one is "
                "truncated"
            )
        yield Place(stretch, weight.spec, at, nbytes, weight.quantised)
        at += nbytes
    if at != size:
        raise CorruptCheckpoint(f"{path}: {counted(size - at, 'byte')} of its files belong to no weight")


def _whole(stretch: Stretch, name: str) -> bytes:
    """Return all bytes of a group with strings, whose ends are known only after reading them."""
    if stretch.size > TEXTS_LIMIT:
        raise FormatError(
            f"{stretch.path}: {name} stores texts in files of over {TEXTS_LIMIT} bytes, which is not supported"
        )
    return stretch.piece(name, 0, stretch.size)


def _length_of_texts(path: Path, raw: bytes, spec: TensorSpec, offset: int) -> int:
    """Return the size in bytes of strings at an offset in a group's bytes; each is preceded by its length."""
    if offset + spec.elements * LENGTH > len(raw):
        raise CorruptCheckpoint(
            f"{path}: {spec.name} has {counted(spec.elements, 'text')}, more than its files can contain"
        )
    at = offset
    for _ in range(spec.elements):
        if at + LENGTH > len(raw):
            raise CorruptCheckpoint(f"{path}: {spec.name} is truncated, or the lengths of its texts are wrong")
        at += LENGTH + int.from_bytes(raw[at : at + LENGTH], "little")
    return at - offset


def _dequantised(codes: Array, how: Quantisation, spec: TensorSpec) -> Array:
    """Return the dequantised numbers, computed in float64 as in a browser."""
    import numpy as np

    if how.code.startswith("<f"):
        return codes.astype(spec.dtype.numpy).reshape(spec.shape)
    values = codes * np.float64(how.scale) + how.least
    with np.errstate(over="ignore", invalid="ignore"):
        made = np.floor(values + 0.5) if spec.dtype.name == "int32" else values
        return made.astype(spec.dtype.numpy).reshape(spec.shape)
