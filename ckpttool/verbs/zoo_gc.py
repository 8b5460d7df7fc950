"""Garbage collection: removing what no entry of the catalogue needs any more."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.collecting import Collected, collect


def zoo_gc(dry_run: bool = False, root: Path | None = None) -> Collected:
    """Remove blobs without a manifest, and leftovers of interrupted runs; with `dry_run` only return them.

    Raises:
        CorruptCheckpoint: a manifest cannot be read, so the blobs that it needs are unknown.
    """
    Catalogue.open(root)
    return collect(Catalogue.begun(root), dry_run)
