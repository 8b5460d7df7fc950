"""The file format of patches: compressed blocks, then a directory that describes them, then the directory's position.

Everything has a checksum: a CRC-32C before each block and after the directory, and a SHA-256 for each tensor of the
base and of the result. The layout is documented in docs/formats.md.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.patch.coding import BLOCKS, WAYS, WHOLE
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.wire import crc, strict_json
from ckpttool.remote import sparse_files

MAGIC = b"\x89ckpt-patch\x01"
"""The first and last bytes of a patch; the last byte is the version."""
SAME = "same"
"""The method of a tensor that is an unchanged tensor of the base."""
DIRECTORY_LIMIT = 64 << 20
"""The maximum size of a directory in bytes."""
BLOCK_HEAD = struct.Struct("<II")
"""The header of a block: its size in bytes, and its CRC-32C."""
TAIL = struct.Struct(f"<QII{len(MAGIC)}s")
"""The end: the directory's compressed and uncompressed sizes, the CRC-32C of the compressed bytes, and `MAGIC`."""
LEAST = BLOCK_HEAD.size + 9
"""The minimum size of a block in bytes: its header and the smallest zstd frame."""


@dataclass(frozen=True)
class BaseTensor:
    """A tensor of the base: its spec, and the SHA-256 of its elements."""

    spec: TensorSpec
    hash: str


@dataclass(frozen=True)
class PatchedTensor:
    """A tensor of the result: the method `how` that makes it from `of` in the base (or None), and its blocks' place.

    `nbytes` is the uncompressed size of the blocks: the tensor's elements, or its strings with their lengths.
    """

    spec: TensorSpec
    how: str
    hash: str
    of: str | None = None
    at: int = 0
    stored: int = 0
    nbytes: int = 0


@dataclass(frozen=True)
class Patch:
    """The content of a patch: the tensors of base and result, with hashes, and the result's metadata and lineage."""

    base: Mapping[str, BaseTensor]
    tensors: Mapping[str, PatchedTensor]
    base_hash: str
    hash: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    lineage: str = ""

    @property
    def changed(self) -> list[PatchedTensor]:
        """The tensors that are not unchanged tensors of the base."""
        return [each for each in self.tensors.values() if each.how != SAME]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON document for the directory."""
        return {
            "base": [[*_facts(each.spec), each.hash] for each in self.base.values()],
            "tensors": [
                [*_facts(each.spec), each.how, each.hash, each.of, [each.at, each.stored, each.nbytes]]
                for each in self.tensors.values()
            ],
            "base_hash": self.base_hash,
            "hash": self.hash,
            "metadata": dict(self.metadata),
            "lineage": self.lineage,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Patch":
        """Return the patch for a document that `as_json` returned.

        Raises:
            KeyError, TypeError, ValueError: the document is not valid.
        """
        base = [BaseTensor(_spec(*facts), str(hash_)) for *facts, hash_ in document["base"]]
        made = [
            PatchedTensor(_spec(*facts), str(how), str(hash_), None if of is None else str(of), *map(_size, sizes))
            for *facts, how, hash_, of, sizes in document["tensors"]
        ]
        texts = {str(key): str(text) for key, text in document["metadata"].items()}
        named = {each.spec.name: each for each in base}, {each.spec.name: each for each in made}
        if len(named[0]) != len(base) or len(named[1]) != len(made):
            raise ValueError("a name appears twice")
        return cls(*named, str(document["base_hash"]), str(document["hash"]), texts, str(document["lineage"]))


def is_patch(path: Path) -> bool:
    """Return whether a file begins with the magic bytes of a patch."""
    with sparse_files.opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def framed(block: bytes) -> bytes:
    """Return a compressed block with its header."""
    return BLOCK_HEAD.pack(len(block), crc.extend(0, block)) + block


def directory(patch: Patch) -> bytes:
    """Return the compressed directory and the end of a patch, which follow the blocks."""
    import cramjam

    text = json.dumps(patch.as_json(), separators=(",", ":")).encode()
    small = bytes(cramjam.zstd.compress(text, 9))
    return small + TAIL.pack(len(small), len(text), crc.extend(0, small), MAGIC)


class PatchFile:
    """An open patch: its directory, and its blocks, which are read on demand."""

    def __init__(self, path: Path) -> None:
        """Read the directory, and check that it is consistent with itself and with the file's size.

        Raises:
            MissingFile: the file does not exist.
            FormatError: it is not a patch, or has a later version.
            CorruptCheckpoint: it is truncated, damaged or inconsistent.
        """
        self.path = path
        self._file = CheckpointFile(path)
        self.patch, end = self._read()
        self._require_sense(end)

    @property
    def nbytes(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    def blocks(self, tensor: PatchedTensor) -> Iterator[tuple[bytes, int]]:
        """Yield the compressed blocks of a tensor, each with its uncompressed size in bytes.

        Raises:
            CorruptCheckpoint: a checksum does not match, or a block does not fit its place.
        """
        at, end, step = tensor.at, tensor.at + tensor.stored, BLOCKS[tensor.how]
        for start in range(0, tensor.nbytes, step):
            size = min(step, tensor.nbytes - start)
            length, checksum = BLOCK_HEAD.unpack(self._file.piece(BLOCK_HEAD.size, at))
            at += BLOCK_HEAD.size
            if length > size or at + length > end:
                raise CorruptCheckpoint(f"{self.path}: the blocks of {tensor.spec.name} do not fit their places")
            raw = self._file.piece(length, at)
            if crc.extend(0, raw) != checksum:
                raise CorruptCheckpoint(f"{self.path}: a block of {tensor.spec.name} at byte {at} is damaged")
            yield raw, size
            at += length
        if at != end:
            raise CorruptCheckpoint(f"{self.path}: {end - at} bytes follow the blocks of {tensor.spec.name}")

    def require_whole(self) -> None:
        """Verify the checksums of all blocks.

        Raises:
            CorruptCheckpoint: a checksum does not match.
        """
        for tensor in self.patch.changed:
            for _ in self.blocks(tensor):
                pass

    def _read(self) -> tuple[Patch, int]:
        """Return the content of the directory, and its offset."""
        size = self._file.size
        start = self._file.piece(min(len(MAGIC), size), 0)
        if start[:-1] == MAGIC[:-1] and start != MAGIC:
            raise FormatError(
                f"{self.path}: the patch has version {start[-1]}, which needs a later version of ckpttool"
            )
        if start != MAGIC:
            raise FormatError(f"{self.path} is not a patch: `diff(patch)` writes one")
        if size < len(MAGIC) + TAIL.size:
            raise CorruptCheckpoint(f"{self.path}: the patch is truncated, at byte {size}")
        packed, unpacked, checksum, magic = TAIL.unpack(self._file.piece(TAIL.size, size - TAIL.size))
        begin = size - TAIL.size - packed
        if magic != MAGIC or begin < len(MAGIC) or max(packed, unpacked) > DIRECTORY_LIMIT:
            raise CorruptCheckpoint(f"{self.path}: the patch is truncated: its directory is not at its end")
        raw = self._file.piece(packed, begin)
        if crc.extend(0, raw) != checksum:
            raise CorruptCheckpoint(f"{self.path}: the directory of the patch is damaged: its checksum does not match")
        try:
            return Patch.from_json(strict_json.parse(_expanded(raw, unpacked))), begin
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptCheckpoint(f"{self.path}: the directory of the patch is not valid: {error}") from error

    def _require_sense(self, end: int) -> None:
        """Check that the blocks fill the file, and that no tensor is larger than its blocks could decompress to."""
        at = len(MAGIC)
        for tensor in self.patch.tensors.values():
            if problem := _problem(tensor, self.patch.base, at):
                raise CorruptCheckpoint(f"{self.path}: {tensor.spec.name} {problem}")
            at += tensor.stored
        if at != end:
            raise CorruptCheckpoint(f"{self.path}: {end - at} bytes before the directory belong to no tensor")


def _problem(tensor: PatchedTensor, base: Mapping[str, BaseTensor], at: int) -> str | None:
    """Return what is invalid about a tensor, as the end of a message, or None."""
    spec, start = tensor.spec, base.get(tensor.of or "") if tensor.of is not None else None
    if tensor.how not in (SAME, *WAYS):
        return f"is made by {tensor.how!r}, which is unknown"
    if (tensor.how == WHOLE) != (tensor.of is None) or (tensor.of is not None and start is None):
        return f"is made by {tensor.how} of {tensor.of}, which is not a tensor of the base"
    if start and (start.spec.shape, start.spec.dtype) != (spec.shape, spec.dtype):
        return f"is {spec.dtype} {list(spec.shape)}, but made of {tensor.of}, which is not"
    if tensor.how == SAME:
        return None if not tensor.stored else "is a tensor of the base, but has blocks"
    blocks = math.ceil(tensor.nbytes / BLOCKS[tensor.how])
    fits = tensor.at == at and blocks * LEAST <= tensor.stored + LEAST
    expected = spec.nbytes == tensor.nbytes if spec.dtype.itemsize else spec.elements <= tensor.nbytes
    return None if fits and expected else "does not fit its blocks"


def _expanded(raw: bytes, nbytes: int) -> bytes:
    import cramjam

    memory = bytearray(nbytes)
    try:
        count = cramjam.zstd.decompress_into(raw, memory)
    except (cramjam.DecompressionError, OSError) as error:
        raise ValueError("it cannot be decompressed") from error
    if count != nbytes:
        raise ValueError(f"it decompresses to {count} bytes, expected {nbytes}")
    return bytes(memory)


def _facts(spec: TensorSpec) -> tuple[str, str, list[int]]:
    return spec.name, spec.dtype.name, list(spec.shape)


def _spec(name: Any, dtype: Any, shape: Any) -> TensorSpec:
    if not isinstance(name, str) or dtype not in BY_NAME or not isinstance(shape, list) or len(shape) > 64:
        raise ValueError(f"{name!r} is {dtype!r} {shape!r}")
    return TensorSpec(name, tuple(map(_size, shape)), BY_NAME[dtype])


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is not a size")
    return value
