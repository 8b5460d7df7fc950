"""Renaming an entry, with its revisions and tags."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.removal import move


def zoo_move(name: str, new: str, root: Path | None = None) -> None:
    """Rename an entry.

    Raises:
        UnknownName: the entry does not exist.
        ExistingOutput: an entry with the new name exists.
        CkptError: the name is invalid.
    """
    move(Catalogue.open(root), name, new)
