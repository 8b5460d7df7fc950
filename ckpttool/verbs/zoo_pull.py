"""Pulling models into the catalogue: from the hub, a web server, Keras, or another catalogue."""

import shlex
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.applications import application
from ckpttool.formats.keras.scheme import is_application
from ckpttool.zoo import hub, pull
from ckpttool.zoo.archives import stem
from ckpttool.zoo.catalogues import catalogue_at, copied
from ckpttool.zoo.downloads import staging_folder
from ckpttool.zoo.store import refuse_twin

WEB = ("https://", "http://")


def zoo_pull(
    source: str,
    entry: str | None = None,
    *,
    name: str | None = None,
    root: Path | None = None,
    tags: Iterable[str] = (),
    sha256: str | None = None,
    talk: Callable[[str], object] = print,
) -> Manifest:
    """Fetch a model, and store it as the next revision of an entry, by default with the model's own name.

    Raises:
        CkptError: the model does not exist, or what was received is not what was promised; nothing is stored.
    """
    model = _Model.at(source)
    if sha256 is not None and not source.startswith(WEB):
        raise CkptError(f"`sha256` is for files on web servers: {source} has hashes of its own")
    if model is None:
        if entry is None:
            raise CkptError(
                f"{source} is taken for a catalogue: name one of its entries, "
                f"`ckpttool zoo pull {shlex.quote(source)} N`; a model is hf://ORG/MODEL, https://ADDRESS or keras:NAME"
            )
        kept, count = copied(catalogue_at(source), Catalogue.begun(root), entry, name, tags)
        talk(f"{count} of {len(kept.files)} files had to be fetched")
        return kept
    if entry is not None:
        raise CkptError(f"{source} is a model, and no catalogue: `name` specifies what it is to be called")
    catalogue, name = Catalogue.begun(root), name or model.name
    refuse_twin(catalogue, name)
    with ExitStack() as stack:
        fetched = model.fetch(sha256, stack)
        for note in fetched.notes:
            talk(note)
        return fetched.added(catalogue, name, tags)


@dataclass(frozen=True)
class _Model:
    """A model elsewhere: its name there, and the function that fetches it."""

    name: str
    fetch: Callable[[str | None, ExitStack], pull.Fetched]

    @classmethod
    def at(cls, source: str) -> Self | None:
        """Return the model of a URL; None for a catalogue."""
        if source.startswith(hub.SCHEME):
            address = hub.HubAddress.of(source)
            return cls(address.name, lambda *_: pull.from_hub(address))
        if source.startswith(WEB):
            return cls(stem(pull.web_name(source)), lambda *asked: _from_web(source, *asked))
        if is_application(source):
            called = application(source)
            return cls(called.name, lambda _, stack: pull.from_keras(called, stack.enter_context(staging_folder())))
        return None


def _from_web(source: str, sha256: str | None, stack: ExitStack) -> pull.Fetched:
    return pull.from_web(source, sha256, stack, stack.enter_context(staging_folder()))
