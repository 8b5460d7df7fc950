"""What each format can do, as the registry's formats say it of themselves: for the command line and the pages."""

from dataclasses import dataclass
from typing import Any

from ckpttool import formats
from ckpttool.core.tensors import DTYPES
from ckpttool.formats.format import ANY

COLUMNS = ("name", "can", "suffixes", "cannot_hold", "limits")


@dataclass(frozen=True)
class Description:
    """A format's name, whether it is written, the suffixes of its outputs, the dtypes that it cannot hold, its limits.

    An empty suffix stands for any name that no other format takes.
    """

    name: str
    writes: bool
    suffixes: tuple[str, ...]
    cannot_hold: tuple[str, ...]
    limits: str

    @classmethod
    def of(cls, name: str) -> "Description":
        """Ask a format.

        >>> Description.of("npz").row()["suffixes"]
        ['.npz']

        Raises:
            CkptError: there is none of that name, or the package that adds it cannot be loaded.
        """
        found = formats.get(name)
        missing = tuple(dtype.name for dtype in DTYPES if dtype.name in ANY - found.HOLDS)
        return cls(name, found.WRITES, tuple(found.SUFFIXES), missing, found.LIMITS)

    def row(self) -> dict[str, Any]:
        """Return its fields."""
        return {
            "name": self.name,
            "can": "read, write" if self.writes else "read",
            "suffixes": [suffix or "any other name" for suffix in self.suffixes],
            "cannot_hold": list(self.cannot_hold),
            "limits": self.limits,
        }

    def texts(self) -> dict[str, str]:
        """Return the same, each field as a text.

        >>> Description.of("safetensors").texts()["suffixes"]
        '.safetensors, .safetensors.index.json'
        """
        row = self.row()
        return row | {key: ", ".join(value) for key, value in row.items() if isinstance(value, list)}
