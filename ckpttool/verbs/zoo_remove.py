"""Removing an entry of the catalogue, or one revision of it."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.names import selector
from ckpttool.core.errors import CkptError
from ckpttool.zoo.removal import remove


def zoo_remove(entry: str, root: Path | None = None) -> list[str]:
    """Remove an entry with all revisions, or `N@REVISION`; return what was removed. Its blobs stay until `gc`.

    Raises:
        UnknownName: the entry or revision does not exist.
        CkptError: a tag was named.
    """
    catalogue, which = Catalogue.open(root), selector(entry)
    if which.tag is not None:
        number = catalogue.revision_of(which)
        raise CkptError(
            f"{entry} is a tag of {which.name}@{number}: `ckpttool zoo remove {which.name}@{number}` removes that "
            f"revision, `ckpttool zoo tag {which.name} -d {which.tag}` the tag"
        )
    revisions = catalogue.require_entry(which.name)
    if which.revision is not None:
        revisions = [catalogue.revision_of(which)]
    remove(catalogue, which.name, which.revision)
    return [f"{which.name}@{revision}" for revision in revisions]
