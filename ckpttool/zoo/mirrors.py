"""Read-only mirrors of catalogues on servers: their manifests and tags are copied to the user's cache.

Files whose version on the server is unchanged are not fetched again. All queries on a catalogue in a folder, including
those through its index, therefore work for catalogues on servers.
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
"""The file with the server's version of each mirrored manifest and tag."""
_AT_ONCE = 64 << 20
"""The maximum bytes per batch of requests."""


@dataclass(frozen=True)
class Mirror(Catalogue):
    """A local mirror of the manifests and tags of a catalogue on a server, without blobs."""

    shown: str = ""

    def __str__(self) -> str:
        return self.shown


def to_look_at(root: Path | None = None) -> Catalogue:
    """Open a catalogue in a folder or on a server for reading its manifests.

    Raises:
        MissingFile: the folder is not a catalogue.
        FormatError: it was written by a newer version.
        CkptError: the server refuses, cannot be reached, or cannot list folders.
    """
    place = place_of(root)
    return _mirrored(ServedCatalogue.open(place)) if is_url(place) else Catalogue.open(place)


def _mirrored(served: ServedCatalogue) -> Mirror:
    """Update the mirror of a catalogue on a server."""
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
    """Return the manifests and tags of a catalogue by path; other files are ignored."""
    found = servers.beneath(url_of(served.manifests))
    paths = {path: path.split("/") for path in found}
    return {path: found[path] for path, (name, *rest) in paths.items() if is_name(name) and rest and _is_record(rest)}


def _is_record(rest: list[str]) -> bool:
    return len(rest) == 1 and is_record(rest[0])


def _mark(file: servers.RemoteFile) -> str:
    return f"{file.size} {file.mark}"


def _known(mirror: Mirror) -> Mapping[str, str]:
    """Return the versions of the mirrored files; nothing if the record is damaged."""
    try:
        marks = checked_json.loads((mirror.root / _MARKS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {path: mark for path, mark in marks.items() if mark.startswith(f"{_size(mirror.manifests / path)} ")}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _fetch(served: ServedCatalogue, mirror: Mirror, files: Mapping[str, servers.RemoteFile]) -> None:
    """Fetch manifests and tags in batches.

    Raises:
        CkptError: the server refuses or cannot be reached, or the disk has too little space.
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
