"""Collecting what no entry of the catalogue needs any more."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.collecting import Collected, collect


def zoo_gc(dry_run: bool = False, root: Path | None = None) -> Collected:
    """Remove blobs that no manifest names, and what interrupted runs have left; with `dry_run` only say what.

    Raises:
        CorruptCheckpoint: a manifest cannot be read, so it is not known what it needs.
    """
    Catalogue.open(root)
    return collect(Catalogue.begun(root), dry_run)
