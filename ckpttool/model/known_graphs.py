"""Known graphs: those that this user's own commands wrote from nothing but their like, told again by their content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.writing.system import sync_folder
from ckpttool.graph.files import find

GRAPHS = (".meta", ".pb", ".pbtxt", ".keras", ".h5", ".hdf5")
"""How files end that have graphs; of other outputs, such as reports and plots, nothing is noted."""


@dataclass(frozen=True)
class KnownGraphs:
    """The hashes of graphs, in a file with a line for each."""

    file: Path

    def has(self, path: Path) -> bool:
        """Return whether the graph that a path means is known; that of an architecture, `keras:NAME`, is."""
        if is_application(path):
            return True
        try:
            known = self.file.read_text().split()
            return _hash_of(path) in known if known else False
        except (OSError, CkptError):
            return False  # there is none, or whoever opens it says what is wrong

    def add(self, path: Path) -> None:
        """Note the graph that a path means, if it means one.

        Raises:
            OSError: it cannot be noted.
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
