"""Known graphs: those that this user's commands wrote from known graphs only, by a hash of their content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.writing.system import sync_folder
from ckpttool.graph.paths import find

GRAPHS = (".meta", ".pb", ".pbtxt", ".keras", ".h5", ".hdf5")
"""The suffixes of files with graphs; other outputs, such as reports and plots, are not recorded."""


@dataclass(frozen=True)
class KnownGraphs:
    """The hashes of graphs, in a file with a line each."""

    file: Path

    def has(self, path: Path) -> bool:
        """Return whether the graph of a path is known; that of an architecture, `keras:NAME`, always is."""
        if is_application(path):
            return True
        try:
            known = self.file.read_text().split()
            return _hash_of(path) in known if known else False
        except (OSError, CkptError):
            return False  # there is none, or opening it will report what is wrong

    def add(self, path: Path) -> None:
        """Record the graph of a path, if it has one.

        Raises:
            OSError: the file of hashes cannot be written.
        """
        try:
            if find(path).suffix not in GRAPHS:
                return
            found = _hash_of(path)
        except (OSError, CkptError):
            return  # weights alone
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not self.has(path):
            with self.file.open("a") as file:
                file.write(f"{found}\n")
            sync_folder(self.file)


def _hash_of(path: Path) -> str:
    with find(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
