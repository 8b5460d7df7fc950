"""The base class of formats: name, suffixes, limits; open, save, verify; and what `registry` and the command line show.

All that is particular to a format is declared in its class: how it is recognised, what it can hold, how its outputs are
named, and which of its files a path may stand for.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from ckpttool.core.dtypes import DTYPES, RESOURCE, STRING, VARIANT
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import TensorKind
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.writing.files import refuse_existing

ANY = frozenset(dtype.name for dtype in DTYPES if dtype is not RESOURCE)
"""What a checkpoint of TensorFlow can hold."""
PLAIN_DTYPES = ANY - {VARIANT.name}
"""The same without what only such a checkpoint can hold."""


@dataclass(frozen=True)
class Checked:
    """A tensor (or a file) whose bytes were checked: how many, and what is wrong with it, or None."""

    name: str
    nbytes: int
    problem: str | None = None

    @classmethod
    def of(cls, name: str, pieces: Iterable[Sized]) -> Self:
        """Read all pieces of a tensor; what reading them raises is the problem."""
        try:
            return cls(name, sum(map(len, pieces)))
        except CkptError as error:
            return cls(name, 0, str(error))


def pieces_of(tensor: Tensor) -> Iterator[Sized]:
    """Yield a tensor's bytes in pieces, or its strings."""
    yield from tensor.pieces() if tensor.dtype.itemsize else tensor.read().ravel().tolist()


class Tensors(Mapping[str, Tensor]):
    """What a format opens: tensors by name, what else the file says, and what else it holds than tensors of a model."""

    metadata: Mapping[str, str] = {}
    """Texts that the file keeps beside its tensors."""
    left_out: tuple[str, ...] = ()
    """What is in the file and not in the mapping: an optimizer's state, a random generator's."""
    kinds: Mapping[str, TensorKind] = {}
    """The kinds of tensors where the file itself says them; names tell those of the others."""

    def checked(self) -> Iterator[Checked]:
        """Read every byte of each tensor; a damaged tensor does not hide the next."""
        return (Checked.of(name, pieces_of(self[name])) for name in self)


class Arrangement(NamedTuple):
    """What the ops in a file say of a tensor that they read.

    `outputs_first` is whether a kernel's outputs come before its inputs, as PyTorch has them, `channels_first` whether
    the rows of a kernel behind a flattened image are in the order of one with its channels first, `epsilon` that of the
    normalisation whose tensor it is; each is None where it is not known, or means nothing. `cell` has the tensors of
    the recurrent cell that it is of, kernels before the bias.
    """

    outputs_first: bool | None = None
    channels_first: bool | None = None
    epsilon: float | None = None
    cell: tuple[str, ...] = ()


@dataclass(frozen=True)
class Writing:
    """How to write, where a format leaves a choice.

    `metadata` is kept by formats that have a place for it (`METADATA`); `like` is a file whose structure the output
    gets; `shard_bytes` is the most that a file holds, where a checkpoint may have several. `source` is the file that
    the tensors are from, if from one, and `origins` has the names there of those that were renamed. `graph` is the file
    of the graph that is written with them, to which a bundle is tied.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    like: Path | None = None
    source: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    shard_bytes: int | None = None
    graph: Path | None = None


PLAIN = Writing()


class Format(ABC):
    """A format of checkpoints."""

    NAME: ClassVar[str]
    """The name that `to` takes."""
    LIMITS: ClassVar[str]
    """What it cannot hold, in a sentence for the user."""
    SUFFIXES: ClassVar[tuple[str, ...]] = ()
    """How the names of outputs in this format end; one that is empty takes any name that no other format takes."""
    LIKE_SUFFIXES: ClassVar[tuple[str, ...]] = ()
    """How the names of outputs end that are in this format where `like` is a file of it, whatever else they mean."""
    HOLDS: ClassVar[frozenset[str]] = PLAIN_DTYPES
    """The names of the dtypes that it can hold."""
    LOSES: ClassVar[re.Pattern[bytes] | None] = None
    """What of a string it would not give back."""
    FRAMEWORK: ClassVar[str | None] = None
    """The framework that arranges the tensors of such files (`torch`, `keras` ...), where it is always the same."""
    CHECKSUMS: ClassVar[bool] = True
    """Whether it has checksums of values: without them a changed number is one, and only the structure is checked."""
    METADATA: ClassVar[bool] = False
    """Whether it keeps texts beside its tensors."""
    OBJECT_GRAPH: ClassVar[bool] = False
    """Whether it has a use for TensorFlow 2's object graph, which says where the tensors of a checkpoint belong."""
    EXPECTED_METADATA: ClassVar[Mapping[str, str]] = {}
    """Texts without which other readers refuse a file that has any, and what they are where nobody gives others."""
    OPTIONS: ClassVar[frozenset[str]] = frozenset()
    """Which choices of `Writing` mean something to it: `like`, `shard_bytes`."""
    WRITES: ClassVar[bool] = True
    """Whether it can be written."""
    INSTEAD: ClassVar[str] = "is read only"
    """What to write instead of a format that is read only."""
    IN_FOLDER: ClassVar[tuple[str, ...]] = ()
    """Files that make a folder one of this format; a web server, which does not list its folders, is asked for each."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether a path holds this format, by its bytes."""

    @abstractmethod
    def open(self, path: Path) -> Tensors:
        """Return the tensors of a checkpoint, read when asked.

        Raises:
            CorruptCheckpoint: it is damaged.
            FormatError: it uses what is not read.
        """

    def framework(self, tensors: Tensors) -> str | None:
        """Return the framework that arranged the tensors of a file, None where the file does not say it."""
        del tensors
        return self.FRAMEWORK

    def arrangements(self, path: Path) -> Mapping[str, Arrangement]:
        """Return what the ops in a file say of the tensors that they read; most files hold no ops."""
        del path
        return {}

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write tensors where no output is, and read them back: at a place that `staged_output` gives.

        Raises:
            FormatError: a tensor is one that the format cannot hold, or the format is read only.
        """
        raise FormatError(f"{path}: {self.INSTEAD}")

    def outputs(self, path: Path) -> list[Path]:
        """Return the files that an output at a path has or had, its main one first: a new output replaces them all."""
        return [path]

    def check(self, path: Path, overwrite: bool) -> None:
        """Check that an output may be written at a path.

        Raises:
            ExistingOutput: there is one already, and `overwrite` is false.
            MissingFile: its folder is not there.
        """
        refuse_existing(self.outputs(path), overwrite)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte, tensor after tensor; a damaged tensor does not hide the next."""
        return self.open(path).checked()

    def stem(self, name: str) -> str:
        """Return what the names of a checkpoint's files begin with, from the name of one of them."""
        return name

    def files_beside(self, path: Path) -> list[Path]:
        """Return the other files that a path may stand for; a web server is asked for each."""
        return []

    def files_named_in(self, folder: Path) -> list[Path]:
        """Return what the files of `IN_FOLDER` that are there name; a web server is asked for each."""
        return []

    def why_not(self, tensor: Tensor) -> str | None:
        """Return what of a tensor it cannot hold: its dtype, or what is in its strings; None where it can hold it."""
        if tensor.dtype.name not in self.HOLDS:
            return str(tensor.dtype)
        if tensor.dtype is not STRING or self.LOSES is None:
            return None
        lost = any(map(self.LOSES.search, as_bytes(tensor.read().ravel().tolist(), tensor.name)))
        return "string with a zero byte that would be lost" if lost else None

    def describe(self) -> dict[str, Any]:
        """Return what it can do, for a table: a row."""
        missing = [dtype.name for dtype in DTYPES if dtype.name in ANY - self.HOLDS]
        return {
            "name": self.NAME,
            "can": "read, write" if self.WRITES else "read",
            "suffixes": [suffix or "any other name" for suffix in self.SUFFIXES],
            "cannot_hold": missing,
            "limits": self.LIMITS,
        }
