"""Pushing to the hub: an entry's files and its card, as one commit."""

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
    """Put an entry on the hub; return what was put there, and the commit.

    A repository that is not there yet is made, for its owner alone unless it is to be `public`.

    Raises:
        UnknownName: there is no such entry.
        CorruptCheckpoint: the bytes of a file are missing, or others.
        CkptError: the hub refuses, or cannot be reached.
        MissingDependency: the hub's library is missing.
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
    """Return where a file lies in a repository: what is in the folder that is a model, in the repository itself."""
    return path.removeprefix(f"{manifest.main}/")
