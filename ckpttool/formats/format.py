"""What a format is: a class that says its name, its suffixes and its limits, and opens, saves and verifies."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ckpttool.tensors import Tensor


@dataclass(frozen=True)
class Checked:
    """A tensor (or a file) whose bytes were checked: how many, and what is wrong with it, or None."""

    name: str
    nbytes: int
    problem: str | None = None


class Format(Protocol):
    """A format of checkpoints. One is a file in this folder, a line in `BUILTIN`, and a class of conformance tests."""

    NAME: str
    """The name that `--to` takes."""
    SUFFIXES: tuple[str, ...]
    """How the names of outputs in this format end; one that is empty takes any name that no other format takes."""
    LIMITS: str
    """What it cannot hold, in a sentence for the user."""

    def recognises(self, path: Path) -> bool:
        """Say, by its bytes, whether a path holds this format."""
        ...

    def open(self, path: Path) -> Mapping[str, Tensor]:
        """Return the tensors of a checkpoint, read when asked.

        Raises:
            CorruptCheckpoint: it is damaged.
            FormatError: it uses what is not read.
        """
        ...

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool) -> None:
        """Write tensors so that at any moment the old output is there whole, or the new one.

        Raises:
            ExistingOutput: there is one already and `overwrite` is false.
            FormatError: a tensor is one that the format cannot hold.
        """
        ...

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte, tensor after tensor; a damaged tensor does not hide the next."""
        ...
