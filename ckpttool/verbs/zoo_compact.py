"""Compacting the catalogue: tensors shared by several models are stored once."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.compacting import Compacted, compact


def zoo_compact(root: Path | None = None) -> Compacted:
    """Store tensors once that are identical in several files; entries are read as before.

    Raises:
        CorruptCheckpoint: a manifest or a file is damaged.
    """
    Catalogue.open(root)
    return compact(Catalogue.begun(root))
