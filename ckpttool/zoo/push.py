"""Pushing to the Hub: an entry's files and its card, in one commit."""

from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.placing import placed
from ckpttool.core.errors import CkptError
from ckpttool.zoo.card import readme, with_text
from ckpttool.zoo.downloads import require_hash
from ckpttool.zoo.hub import HubAddress, commit
from ckpttool.zoo.pull import README
from ckpttool.zoo.sources import given_to_others


def to_hub(catalogue: Catalogue, entry: str, address: HubAddress, public: bool = False) -> tuple[Manifest, str]:
    """Upload an entry to the Hub; return its manifest, and the commit.

    A new repository is private unless `public`.

    Raises:
        UnknownName: the entry does not exist.
        CorruptCheckpoint: a file is missing, or has another hash.
        CkptError: the Hub refuses, or cannot be reached.
        MissingDependency: the Hub's library is missing.
    """
    if address.path:
        raise CkptError(f"{address}/{address.path}: a model is pushed to the root of a repository, {address}")
    manifest = catalogue.find(entry)
    folder, files = placed(catalogue, manifest), dict[str, Path | bytes]()
    for file in given_to_others(manifest):
        require_hash(folder / file.path, file.sha256, f"{file.path} of {manifest}")
        files[_place(manifest, file.path)] = folder / file.path
    files[README] = readme(with_text(manifest, address.name, str(address))).encode()
    return manifest, commit(address, files, f"{manifest} of a ckpttool zoo", public)


def _place(manifest: Manifest, path: str) -> str:
    """Return the path of a file in the repository; files of a model folder are placed at the root."""
    return path.removeprefix(f"{manifest.main}/")
