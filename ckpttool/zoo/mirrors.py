"""Catalogues on servers, to look at: their manifests and tags are copied among the user's cached files, and read there.

A manifest never changes: what is here already, by the mark that the server gives of it, is not fetched again. So what
is asked of a catalogue in a folder, through its index too, can be asked of one on a server.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.catalogue.layout import HEAD, MOST_BYTES, Catalogue, is_record, place_of
from ckpttool.catalogue.manifest import FORMAT
from ckpttool.catalogue.names import is_name
from ckpttool.catalogue.served import ServedCatalogue, url_of
from ckpttool.core.cache_folder import cache_folder
from ckpttool.core.errors import CkptError
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.remote import servers
from ckpttool.remote.paths import is_url

_MARKS = "marks.json"
"""The file of what the server says of each manifest and tag that is here."""
_AT_ONCE = 64 << 20
"""Bytes that are fetched at once."""


@dataclass(frozen=True)
class Mirror(Catalogue):
    """The manifests and tags of a catalogue on a server, in a folder, without the bytes of models."""

    shown: str = ""

    def __str__(self) -> str:
        return self.shown


def to_look_at(root: Path | None = None) -> Catalogue:
    """Open a catalogue to look at its manifests, in a folder or on a server.

    Raises:
        MissingFile: there is none.
        FormatError: a newer version wrote it.
        CkptError: the server refuses, cannot be reached, or lists no folders.
    """
    place = place_of(root)
    return _mirrored(ServedCatalogue.open(place)) if is_url(place) else Catalogue.open(place)


def _mirrored(served: ServedCatalogue) -> Mirror:
    """Bring what is here of a catalogue on a server up to date."""
    key = hashlib.sha256(url_of(served.root).encode()).hexdigest()[:32]
    mirror = Mirror(cache_folder() / "catalogues" / key, str(served))
    for folder in (mirror.manifests, mirror.root / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    there, known = _listed(served), _known(mirror)
    for path in [each for each in known if each not in there]:
        (mirror.manifests / path).unlink(missing_ok=True)
    for name in mirror.names():
        if not any(path.startswith(f"{name}/") for path in there):
            shutil.rmtree(mirror.folder(name), ignore_errors=True)
    _fetch(served, mirror, {path: each for path, each in there.items() if known.get(path) != _mark(each)})
    with replacing(mirror.root / HEAD, durable=False) as file:
        file.write(checked_json.dumps({"format": FORMAT}))
    with replacing(mirror.root / _MARKS, durable=False) as file:
        file.write(checked_json.dumps({path: _mark(each) for path, each in there.items()}))
    return mirror


def _listed(served: ServedCatalogue) -> dict[str, servers.RemoteFile]:
    """Return the manifests and tags of a catalogue, by their paths; whatever else is there is no part of it."""
    found = servers.beneath(url_of(served.manifests))
    paths = {path: path.split("/") for path in found}
    return {path: found[path] for path, (name, *rest) in paths.items() if is_name(name) and rest and _is_record(rest)}


def _is_record(rest: list[str]) -> bool:
    return len(rest) == 1 and is_record(rest[0])


def _mark(file: servers.RemoteFile) -> str:
    return f"{file.size} {file.mark}"


def _known(mirror: Mirror) -> Mapping[str, str]:
    """Return the marks of what is here; nothing where that is damaged."""
    try:
        marks = checked_json.loads((mirror.root / _MARKS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {path: mark for path, mark in marks.items() if mark.startswith(f"{_size(mirror.manifests / path)} ")}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _fetch(served: ServedCatalogue, mirror: Mirror, files: Mapping[str, servers.RemoteFile]) -> None:
    """Fetch manifests and tags.

    Raises:
        CkptError: the server refuses, cannot be reached, or has more than there is place for.
    """
    if (size := sum(each.size for each in files.values())) > (free := shutil.disk_usage(mirror.root).free):
        raise CkptError(f"{served}: its manifests have {size} bytes, but {mirror.root} has space for {free}")
    part, held = list[str](), 0
    for path, file in [*files.items(), ("", None)]:
        if part and (file is None or held + file.size > _AT_ONCE):
            texts = servers.read_all([url_of(served.manifests / each) for each in part])
            for each, text in zip(part, texts, strict=True):
                if text is not None:
                    (mirror.manifests / each).parent.mkdir(exist_ok=True)
                    with replacing(mirror.manifests / each, durable=False) as own:
                        own.write(text[: MOST_BYTES + 1])
            part, held = [], 0
        if file is not None:
            part, held = [*part, path], held + file.size
