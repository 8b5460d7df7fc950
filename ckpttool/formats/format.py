"""The base class of checkpoint formats: name, suffixes, limits; open, save, verify; and the row in tables of formats.

A format's class declares everything specific to it: how it is recognised, which dtypes it can store, how its output
files are named, and which of its files a path may refer to.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from ckpttool.core.dtypes import DTYPES, RESOURCE, STRING, VARIANT
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import TensorKind
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.writing.files import refuse_existing

ANY = frozenset(dtype.name for dtype in DTYPES if dtype is not RESOURCE)
"""The dtypes that a TensorFlow checkpoint can store."""
PLAIN_DTYPES = ANY - {VARIANT.name}
"""The same, without the dtype that only TensorFlow checkpoints can store."""


@dataclass(frozen=True)
class Checked:
    """The result of checking a tensor or a file: its size in bytes, and the problem found, if any."""

    name: str
    nbytes: int
    problem: str | None = None

    @classmethod
    def of(cls, name: str, pieces: Iterable[Sized]) -> Self:
        """Read all pieces of a tensor; an error raised while reading becomes the problem."""
        try:
            return cls(name, sum(map(len, pieces)))
        except CkptError as error:
            return cls(name, 0, str(error))


def pieces_of(tensor: Tensor) -> Iterator[Sized]:
    """Yield a tensor's bytes in pieces; for string tensors, its strings."""
    yield from tensor.pieces() if tensor.dtype.itemsize else tensor.read().ravel().tolist()


class Tensors(Mapping[str, Tensor]):
    """An opened checkpoint: tensors by name, metadata, and the names of contents that were skipped."""

    metadata: Mapping[str, str] = {}
    """Text metadata stored in the file."""
    left_out: tuple[str, ...] = ()
    """Contents of the file that are not in the mapping, such as the state of an optimizer or a random generator."""
    kinds: Mapping[str, TensorKind] = {}
    """The kinds of tensors that the file declares; other kinds are inferred from names."""

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor; checking continues after a damaged tensor."""
        return (Checked.of(name, pieces_of(self[name])) for name in self)


class Arrangement(NamedTuple):
    """The memory layout of a tensor, as implied by the ops in the file that read it.

    `outputs_first`: the output axis of a kernel precedes the input axis, as in PyTorch. `channels_first`: the rows of a
    kernel that follows a flattened image are in channels-first order. `epsilon`: that of the normalisation to which the
    tensor belongs. Each is None if unknown or not applicable. `cell` lists the tensors of the recurrent cell to which
    the tensor belongs, kernels before the bias.
    """

    outputs_first: bool | None = None
    channels_first: bool | None = None
    epsilon: float | None = None
    cell: tuple[str, ...] = ()


@dataclass(frozen=True)
class Writing:
    """Options for writing a checkpoint.

    `metadata` is stored by formats that support it (`METADATA`). `like` is a file whose structure the output copies.
    `shard_bytes` is the maximum size of a file, in formats that can split a checkpoint. `source` is the file that the
    tensors were read from, if there is exactly one, and `origins` maps renamed tensors to their names in it. `graph` is
    the graph file written together with a bundle, which records its hash. `later` returns the texts of the metadata
    that are known only when the tensors are written, because they contain hashes of the files that these are read from.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    like: Path | None = None
    source: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    shard_bytes: int | None = None
    graph: Path | None = None
    later: Callable[[], Mapping[str, str]] | None = None


PLAIN = Writing()


class Format(ABC):
    """A format of checkpoints."""

    NAME: ClassVar[str]
    """The name accepted by `to`."""
    LIMITS: ClassVar[str]
    """A sentence for users about what the format cannot store."""
    SUFFIXES: ClassVar[tuple[str, ...]] = ()
    """The file name suffixes of outputs; an empty one matches any name that no other format claims."""
    LIKE_SUFFIXES: ClassVar[tuple[str, ...]] = ()
    """Further suffixes that select this format if `like` is a file in it; otherwise they may mean another format."""
    HOLDS: ClassVar[frozenset[str]] = PLAIN_DTYPES
    """The names of the dtypes that it can store."""
    DIMENSIONS: ClassVar[int] = 64
    """How many dimensions a stored tensor can have; 64 is NumPy's limit."""
    LOSES: ClassVar[re.Pattern[bytes] | None] = None
    """A pattern for bytes at which a stored string would be changed when it is read back."""
    FRAMEWORK: ClassVar[str | None] = None
    """The framework whose tensor layout the files have (`torch`, `keras` ...), if it is always the same."""
    CHECKSUMS: ClassVar[bool] = True
    """Whether values have checksums; without them, `verify` checks the structure but cannot detect changed values."""
    METADATA: ClassVar[bool] = False
    """Whether it stores text metadata."""
    LATER: ClassVar[bool] = False
    """Whether it asks for the last texts of the metadata when the tensors are written (`Writing.later`)."""
    OBJECT_GRAPH: ClassVar[bool] = False
    """Whether it stores TensorFlow 2's object graph, which maps the tensors of a checkpoint to objects."""
    EXPECTED_METADATA: ClassVar[Mapping[str, str]] = {}
    """Default values of metadata that other readers require in any file that has metadata."""
    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    """The fields of `Writing` that it supports: `like`, `shard_bytes`."""
    WRITES: ClassVar[bool] = True
    """Whether it can be written."""
    INSTEAD: ClassVar[str] = "is read only"
    """For a read-only format, what to write instead."""
    WHOLE_FOLDER: ClassVar[bool] = False
    """Whether all files below a folder in this format are parts of the checkpoint."""
    IN_FOLDER: ClassVar[tuple[str, ...]] = ()
    """Files that identify a folder in this format; a web server, which lists no folders, is queried for each."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether a path is in this format, judging by its content."""

    @abstractmethod
    def open(self, path: Path) -> Tensors:
        """Return the tensors of a checkpoint; values are read on access.

        Raises:
            CorruptCheckpoint: it is damaged.
            FormatError: it uses an unsupported feature.
        """

    def framework(self, tensors: Tensors) -> str | None:
        """Return the framework whose layout the tensors of a file have, or None if the file does not tell."""
        del tensors
        return self.FRAMEWORK

    def arrangements(self, path: Path) -> Mapping[str, Arrangement]:
        """Return the layouts of tensors implied by the ops in a file; most formats contain no ops."""
        del path
        return {}

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write tensors to a path where nothing exists, provided by `staged_output`, and verify them by reading back.

        Raises:
            FormatError: the format cannot store a tensor, or is read only.
        """
        raise FormatError(f"{path}: {self.INSTEAD}")

    def outputs(self, path: Path) -> list[Path]:
        """Return all files that an output at a path may consist of, the main one first; a new output replaces them."""
        return [path]

    def check(self, path: Path, overwrite: bool) -> None:
        """Check that an output may be written at a path.

        Raises:
            ExistingOutput: it exists, and `overwrite` is false.
            MissingFile: its folder does not exist.
        """
        refuse_existing(self.outputs(path), overwrite)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte, tensor by tensor; checking continues after a damaged tensor."""
        return self.open(path).checked()

    def has_checksums(self, path: Path) -> bool:
        """Return whether the values of a checkpoint have checksums: that of the format, unless its files differ."""
        return self.CHECKSUMS

    def stem(self, name: str) -> str:
        """Return the common prefix of the names of a checkpoint's files, given one of them."""
        return name

    def files_beside(self, path: Path) -> list[Path]:
        """Return the other files that a path may refer to; a web server is queried for each."""
        return []

    def files_named_in(self, folder: Path) -> list[Path]:
        """Return the files referenced by the existing files of `IN_FOLDER`; a web server is queried for each."""
        return []

    def why_not(self, tensor: Tensor) -> str | None:
        """Return why a tensor cannot be stored (its dtype, its shape, or bytes in its strings), or None if it can."""
        if tensor.dtype.name not in self.HOLDS:
            return str(tensor.dtype)
        if (why := self.why_not_shape(tensor)) is not None:
            return why
        if tensor.dtype is not STRING or self.LOSES is None:
            return None
        lost = any(map(self.LOSES.search, as_bytes(tensor.read().ravel().tolist(), tensor.name)))
        return "string with a zero byte that would be lost" if lost else None

    def why_not_shape(self, tensor: Tensor) -> str | None:
        """Return why a tensor of this shape cannot be stored, or None if it can."""
        if len(tensor.shape) > self.DIMENSIONS:
            return f"of {len(tensor.shape)} dimensions, at most {self.DIMENSIONS} are stored"
        if not is_possible(tensor.shape, tensor.dtype.itemsize):
            return f"of the shape {list(tensor.shape)}, which is too large apart from sizes of 0"
        return None

    def describe(self) -> dict[str, Any]:
        """Return the format's row in tables of formats."""
        missing = [dtype.name for dtype in DTYPES if dtype.name in ANY - self.HOLDS]
        return {
            "name": self.NAME,
            "can": "read, write" if self.WRITES else "read",
            "suffixes": [suffix or "any other name" for suffix in self.SUFFIXES],
            "cannot_hold": missing,
            "limits": self.LIMITS,
        }
