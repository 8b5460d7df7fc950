"""`.lines`: a text file with a tensor per line, its name and then its numbers. A complete plug-in format."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Checked, Format, Tensors, Writing
from ckpttool.formats.writing.files import replacing

MAGIC = "#lines\n"


class LinesTensors(Tensors):
    """The tensors of a file by name; each line has its own."""

    def __init__(self, path: Path) -> None:
        """Read the lines.

        Raises:
            CorruptCheckpoint: if a number cannot be parsed.
        """
        lines = path.read_text(encoding="utf-8").removeprefix(MAGIC).splitlines()
        try:
            self._arrays = {line.split()[0]: np.array(line.split()[1:], np.float64) for line in lines}
        except (ValueError, IndexError) as error:
            raise CorruptCheckpoint(f"{path}: a line is not a name and numbers: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        return Tensor.of(name, self._arrays[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class Lines(Format):
    """The format; `ckpttool.formats.format.Format` documents the members."""

    NAME = "lines"
    SUFFIXES = (".lines",)
    LIMITS = "holds vectors of float64 whose names have no spaces; keeps no checksums"
    HOLDS = frozenset({"float64"})

    def recognises(self, path: Path) -> bool:
        """Return whether a file starts like one of this format."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC.encode()

    def open(self, path: Path) -> LinesTensors:
        """Read a file."""
        return LinesTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a line for each tensor, completely or not at all.

        Raises:
            FormatError: if a tensor is not a vector of float64.
        """
        with replacing(path) as file:
            file.write(MAGIC.encode())
            for name, tensor in tensors.items():
                if tensor.dtype.name not in self.HOLDS or len(tensor.shape) != 1 or name.split() != [name]:
                    raise FormatError(
                        f"{path}: {name} is {tensor.dtype} {list(tensor.shape)}, expected a vector of float64"
                    )
                file.write(" ".join([name, *map(repr, tensor.read().tolist())]).encode() + b"\n")

    def verify(self, path: Path) -> Iterator[Checked]:
        """Read all of it."""
        try:
            yield from (Checked(name, tensor.nbytes) for name, tensor in self.open(path).items())
        except CkptError as error:
            yield Checked(str(path), 0, str(error))
