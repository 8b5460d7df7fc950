"""Verifying the catalogue: every byte of its files, and the hashes of their tensors."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.names import selector
from ckpttool.zoo.checking import Checked, check


def zoo_verify(entry: str | None = None, root: Path | None = None) -> Checked:
    """Verify the whole catalogue, or one entry: all revisions of `N`, or `N@REVISION` or `N:TAG`.

    Raises:
        UnknownName: the entry does not exist.
    """
    catalogue = Catalogue.open(root)
    if entry is None:
        return check(catalogue, [(name, each) for name in catalogue.names() for each in catalogue.revisions(name)])
    which = selector(entry)
    one = which.revision is not None or which.tag is not None
    revisions = [catalogue.revision_of(which)] if one else catalogue.require_entry(which.name)
    return check(catalogue, [(which.name, revision) for revision in revisions])
