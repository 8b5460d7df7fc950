"""Moving an entry: another name for it, with its revisions and tags."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.removal import move


def zoo_move(name: str, new: str, root: Path | None = None) -> None:
    """Give an entry another name.

    Raises:
        UnknownName: the entry does not exist.
        ExistingOutput: there is one of the new name.
        CkptError: it cannot be a name.
    """
    move(Catalogue.open(root), name, new)
