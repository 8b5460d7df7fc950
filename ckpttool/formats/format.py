"""What a format is: a class that says its name, its suffixes and its limits, and opens, saves and verifies."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ckpttool.core.tensors import DTYPES, RESOURCE, STRING, VARIANT, Tensor
from ckpttool.core.variable_kinds import Kind
from ckpttool.formats.wire.strings import as_bytes

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


class Tensors(Mapping[str, Tensor]):
    """What a format opens: tensors by name, what else the file says, and what it holds that is no tensor of a model."""

    metadata: Mapping[str, str] = {}
    """Texts that the file keeps beside its tensors."""
    left_out: tuple[str, ...] = ()
    """What is in the file and not in the mapping: an optimizer's state, a random generator's."""
    kinds: Mapping[str, Kind] = {}
    """The kinds of tensors where the file itself says them; names tell those of the others."""


@dataclass(frozen=True)
class Writing:
    """How to write, where a format leaves a choice.

    `metadata` is kept by formats that have a place for it (`METADATA`); `like` is a file whose structure the output
    gets; `shard_bytes` is the most that a file holds, where a checkpoint may have several. `source` is the file that
    the tensors are from, if from one, and `origins` has the names there of those that were renamed.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    like: Path | None = None
    source: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    shard_bytes: int | None = None


PLAIN = Writing()


class Format(Protocol):
    """A format of checkpoints. It is a file in a folder here, a line in `BUILTIN` and a class of conformance tests."""

    NAME: str
    """The name that `--to` takes."""
    SUFFIXES: tuple[str, ...]
    """How the names of outputs in this format end; one that is empty takes any name that no other format takes."""
    LIMITS: str
    """What it cannot hold, in a sentence for the user."""
    WRITES: bool
    """Whether it can be written; `save` of one that cannot says what to write instead."""
    METADATA: bool
    """Whether it keeps texts beside its tensors."""
    HOLDS: frozenset[str]
    """The names of the dtypes that it can hold."""
    HEEDS: frozenset[str]
    """Which choices of `Writing` mean something to it: `like`, `shard_bytes`."""

    # LOSES: re.Pattern[bytes], for formats that would not give every string back: what they lose (see `why_not`).

    def recognises(self, path: Path) -> bool:
        """Say, by its bytes, whether a path holds this format."""
        ...

    def open(self, path: Path) -> Tensors:
        """Return the tensors of a checkpoint, read when asked.

        Raises:
            CorruptCheckpoint: it is damaged.
            FormatError: it uses what is not read.
        """
        ...

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing = PLAIN) -> None:
        """Write tensors so that at any moment the old output is there whole, or the new one.

        Raises:
            ExistingOutput: there is one already and `overwrite` is false.
            FormatError: a tensor is one that the format cannot hold.
        """
        ...

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte, tensor after tensor; a damaged tensor does not hide the next."""
        ...


def why_not(target: Format, tensor: Tensor) -> str | None:
    """Say what of a tensor a format cannot hold: its dtype, or what is in its strings; None where it can hold it."""
    if tensor.dtype.name not in target.HOLDS:
        return str(tensor.dtype)
    loses: re.Pattern[bytes] | None = getattr(target, "LOSES", None)
    if tensor.dtype is not STRING or loses is None:
        return None
    lost = any(map(loses.search, as_bytes(tensor.read().ravel().tolist(), tensor.name)))
    return "string with a zero byte that would be lost" if lost else None
