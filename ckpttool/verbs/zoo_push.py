"""Pushing entries of the catalogue to the hub, or to another catalogue."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.remote.paths import without_secrets
from ckpttool.zoo import hub
from ckpttool.zoo.catalogues import catalogue_at, copied
from ckpttool.zoo.push import to_hub
from ckpttool.zoo.sources import given_to_others


@dataclass(frozen=True)
class Pushed:
    """The result: what was pushed, its place, the revision or commit, and the number of files sent."""

    entry: str
    target: str
    revision: str
    files: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"entry": self.entry, "target": self.target, "revision": self.revision, "files": self.files}

    def line(self) -> str:
        """Return it as one line of text."""
        return f"{self.entry} is in {self.target} as {self.revision}, {counted(self.files, 'file')} sent"


def zoo_push(
    entry: str, target: str, name: str | None = None, root: Path | None = None, public: bool = False
) -> Pushed:
    """Push an entry to the hub, or to another catalogue, which is created if it does not exist.

    Raises:
        UnknownName: the entry does not exist.
        CkptError: the target refuses, cannot be reached, or is something else.
    """
    own = Catalogue.open(root)
    if target.startswith(hub.SCHEME):
        if name is not None:
            raise CkptError(f"{target} says what the model is called there: leave out `name`")
        address = hub.HubAddress.of(target)
        manifest, commit = to_hub(own, entry, address, public)
        return Pushed(str(manifest), str(address), commit, len(given_to_others(manifest)) + 1)
    if public:
        raise CkptError(f"`public` is for the hub, and {without_secrets(target)} is taken for a catalogue")
    found = own.find(entry)
    kept, count = copied(own, catalogue_at(target, begin=True), str(found), name)
    return Pushed(str(found), without_secrets(target), str(kept), count)
