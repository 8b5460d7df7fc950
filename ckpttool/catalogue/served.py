"""Catalogues on servers that can list folders, such as s3://bucket/zoo: the same layout without by-name."""

from dataclasses import dataclass
from pathlib import Path

from ckpttool.catalogue.layout import HEAD, MOST_BYTES, Catalogue
from ckpttool.catalogue.manifest import FORMAT
from ckpttool.catalogue.names import is_name
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.formats.wire import checked_json
from ckpttool.remote import servers
from ckpttool.remote.paths import whole_url


def url_of(path: Path) -> str:
    """Return the URL of a path within a catalogue on a server."""
    return whole_url(path)


@dataclass(frozen=True)
class ServedCatalogue(Catalogue):
    """A catalogue on a server, whose root is a URL as a path."""

    @classmethod
    def open(cls, root: Path | None = None) -> "ServedCatalogue":
        """Open a catalogue for reading.

        Raises:
            MissingFile: the folder is not a catalogue.
            FormatError: it was written by a newer version.
            CkptError: the server refuses, cannot be reached, or cannot list folders.
        """
        catalogue = cls._listing(root)
        if not catalogue._has_head():
            raise MissingFile(f"{catalogue} is not a catalogue: `ckpttool zoo push` creates one")
        catalogue._require_version()
        return catalogue

    @classmethod
    def begun(cls, root: Path | None = None) -> "ServedCatalogue":
        """Open a catalogue for writing, and create it in an empty folder.

        Raises:
            CkptError: the folder is not empty, or the server refuses, cannot be reached, or cannot list folders.
            FormatError: it was written by a newer version.
        """
        catalogue = cls._listing(root)
        if not catalogue._has_head():
            if others := sorted(servers.listing(url_of(catalogue.root))):
                raise CkptError(f"{catalogue} contains {others[0]} and is not a catalogue: specify an empty folder")
            servers.created(url_of(catalogue.root / HEAD), checked_json.dumps({"format": FORMAT}))
        catalogue._require_version()
        return catalogue

    @classmethod
    def _listing(cls, root: Path | None) -> "ServedCatalogue":
        if root is None or not servers.lists(url_of(root)):
            raise CkptError(f"{url_of(root or Path())} is not a catalogue: its server lists no folders")
        return cls(root)

    def _has_head(self) -> bool:
        file = servers.listing(url_of(self.root)).get(HEAD)
        return file is not None and file.size > 0

    __str__ = Catalogue.__str__

    def inside(self, path: Path) -> Path:
        """Return the path unchanged; servers have no links."""
        return path

    def names(self) -> list[str]:
        """Return the sorted names of all entries."""
        found = servers.listing(url_of(self.manifests))
        return sorted(name for name, file in found.items() if file is None and is_name(name))

    def has_blob(self, sha256: str, nbytes: int) -> bool:
        """Return whether a blob exists in full."""
        blob = self.blob(sha256)
        file = servers.listing(url_of(blob.parent)).get(blob.name)
        return file is not None and file.size == nbytes

    def _files(self, name: str) -> list[str]:
        return [each for each, file in servers.listing(url_of(self.folder(name))).items() if file]

    def _read(self, path: Path) -> bytes:
        file = servers.listing(url_of(path.parent)).get(path.name)
        if file is None:
            raise FileNotFoundError(url_of(path))
        if file.size > MOST_BYTES:
            raise CorruptCheckpoint(f"{url_of(path)} has more than {MOST_BYTES} bytes, the limit")
        return servers.read(url_of(path)) or b""
