"""Compacting the catalogue: tensors that several models share are kept once."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.compacting import Compacted, compact


def zoo_compact(root: Path | None = None) -> Compacted:
    """Keep tensors once that several files hold byte for byte; entries are read as before.

    Raises:
        CorruptCheckpoint: a manifest or a file is damaged.
    """
    Catalogue.open(root)
    return compact(Catalogue.begun(root))
