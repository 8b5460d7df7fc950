"""Pushing to the hub: an entry's files and its card, as one commit."""

from dataclasses import replace
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.placing import placed
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.zoo.card import readme
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
        raise CkptError(f"{address}/{address.path}: a model is pushed to a repository of its own, {address}")
    manifest = catalogue.find(entry)
    folder, files = placed(catalogue, manifest), dict[str, Path | bytes]()
    for file in given_to_others(manifest):
        require_hash(folder / file.path, file.sha256, f"{file.path} of {manifest}")
        files[_place(manifest, file.path)] = folder / file.path
    files[README] = readme(_with_text(manifest, address)).encode()
    return manifest, commit(address, files, f"{manifest} of a ckpttool zoo", public)


def _with_text(manifest: Manifest, address: HubAddress) -> Manifest:
    """Return a manifest whose card has a text: what is known of the model, where its user said nothing."""
    if manifest.card.get("text"):
        return manifest
    rows = [f"| {each.get('name')} | {each.get('kind') or ''} | {each.get('parameters')} |" for each in manifest.layers]
    lines = [
        f"# {address.name}",
        f"{counted(manifest.parameters, 'parameter')} in {counted(len(manifest.layers), 'layer')}.",
        *([f"Preprocessing: `{manifest.preprocess}`."] if manifest.preprocess else []),
        *([f"Classes: {', '.join(manifest.classes)}."] if manifest.classes else []),
        "\n".join(["| layer | kind | parameters |", "| --- | --- | --- |", *rows]),
        f"`ckpttool zoo pull {address}` puts it into a catalogue of your own.",
    ]
    return replace(manifest, card={**manifest.card, "text": "\n\n".join(lines)})


def _place(manifest: Manifest, path: str) -> str:
    """Return where a file lies in a repository: what is in the folder that is a model, in the repository itself."""
    return path.removeprefix(f"{manifest.main}/")
