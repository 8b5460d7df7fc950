"""A limit on names that are paths: each repeats the names of its parents, which the file contains only once."""

from pathlib import Path

from ckpttool.core.errors import FormatError

MOST_CHARACTERS, RATIO = 16 << 20, 2
"""The maximum total length of names in characters, plus the number per byte of the file."""


class PathNames:
    """Limits the names in a file by its size: a long name above many short ones would fill the memory."""

    def __init__(self, path: Path, nbytes: int) -> None:
        """Set the limit for a file and its size in bytes."""
        self._path, self._left = path, MOST_CHARACTERS + RATIO * nbytes

    def add(self, name: str) -> None:
        """Count a name.

        Raises:
            FormatError: the total length of all names exceeds the limit.
        """
        self._left -= len(name)
        if self._left < 0:
            raise FormatError(f"{self._path}: the names in it, with their parents, are too long in total")
