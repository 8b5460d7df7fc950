"""Names that are paths: what lies deep in a tree repeats all that is above it, which a file has just once."""

from pathlib import Path

from ckpttool.core.errors import FormatError

MOST_CHARACTERS, RATIO = 16 << 20, 2
"""Characters of all names together, and those for each byte of the file, that are taken in."""


class PathNames:
    """Holds the names in a file against its size: a long one above many short ones would fill the memory."""

    def __init__(self, path: Path, nbytes: int) -> None:
        """Take a file and its size."""
        self._path, self._left = path, MOST_CHARACTERS + RATIO * nbytes

    def add(self, name: str) -> None:
        """Count a name.

        Raises:
            FormatError: there are too many that are long.
        """
        self._left -= len(name)
        if self._left < 0:
            raise FormatError(f"{self._path}: the names in it, with their parents, are too long in total")
