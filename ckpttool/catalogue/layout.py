"""The layout of a catalogue, and reading from it: an entry exists if its manifest does.

zoo.json                            the version of the layout
blobs/sha256/ab/abcdef...           files of models by hash, read-only; .pieces: the blobs that a file consists of
manifests/NAME/000001.json          a revision; renamed to 000001.removed on removal: numbers are never reused
manifests/NAME/TAG.tag              the number of the revision that a tag refers to
by-name/NAME/1/...                  links to blobs under the files' own names, for people and readers
condemned/, tmp/, index.sqlite      files being removed, files being written, and a cache of the manifests
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ckpttool.catalogue.manifest import FORMAT, MOST_REVISIONS, Manifest
from ckpttool.catalogue.names import Selector, is_name, require_name, selector
from ckpttool.core import plain_files
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile, UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.remote.paths import is_url, whole_url, without_secrets

VARIABLE = "CKPTTOOL_ZOO"
"""The environment variable with the location of the catalogue."""
HEAD = "zoo.json"
"""The file that marks a folder as a catalogue."""
MOST_BYTES = 256 << 20
"""The maximum size of a manifest in bytes."""
REMOVED = ".removed"
"""The suffix of the file that remains of a removed revision."""
TAG = ".tag"
"""The suffix of a tag's file."""
_LONGEST_TAG = 32
_FILE_URL = re.compile(r"file:/*(/[^/].*)", re.DOTALL)
_REVISION = re.compile(r"(\d{6,9})\.(json|removed)", re.ASCII)


def is_record(name: str) -> bool:
    """Return whether a file name in an entry's folder is that of a manifest, a removed manifest, or a tag.

    >>> is_record("000001.json"), is_record("best.tag"), is_record("../000001.json"), is_record(".tag")
    (True, True, False, False)
    """
    return _REVISION.fullmatch(name) is not None or (name.endswith(TAG) and is_name(name.removesuffix(TAG)))


def default_root() -> Path:
    """Return the location of the user's catalogue: `CKPTTOOL_ZOO` if set, else `zoo` in the user data folder."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("ckpttool", appauthor=False) / "zoo"


def place_of(root: Path | str | None) -> Path:
    """Return the location of a catalogue, with file:/// URLs converted to paths; the user's own catalogue if None.

    >>> place_of("file:///srv/zoo"), place_of(Path("s3://bucket/zoo")), place_of("zoo")
    (PosixPath('/srv/zoo'), PosixPath('s3:/bucket/zoo'), PosixPath('zoo'))
    """
    place = Path(root) if root else default_root()
    return Path(match[1]) if (match := _FILE_URL.fullmatch(str(place))) else place


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of models in a folder."""

    root: Path

    @classmethod
    def open(cls, root: Path | None = None) -> "Catalogue":
        """Open a catalogue for reading.

        Raises:
            MissingFile: the folder is not a catalogue.
            CkptError: the location is a URL.
            FormatError: it was written by a newer version.
        """
        catalogue = cls._in_folder(root)
        if not plain_files.is_file(catalogue.root / HEAD):
            raise MissingFile(f"{catalogue.root} is not a catalogue: `ckpttool zoo add` creates one")
        catalogue._require_version()
        return catalogue

    @classmethod
    def begun(cls, root: Path | None = None) -> "Catalogue":
        """Open a catalogue for writing, and create it in an empty or new folder.

        Raises:
            CkptError: the folder contains something else, or the location is a URL.
            FormatError: it was written by a newer version.
        """
        catalogue = cls._in_folder(root)
        if not plain_files.is_file(catalogue.root / HEAD):
            catalogue.root.mkdir(parents=True, exist_ok=True)
            others = [each.name for each in catalogue.root.iterdir() if not each.name.startswith(f".{HEAD}.")]
            if others and not plain_files.is_file(catalogue.root / HEAD):
                raise CkptError(
                    f"{catalogue.root} contains {sorted(others)[0]} and is not a catalogue: specify an empty folder"
                )
            with replacing(catalogue.root / HEAD) as file:
                file.write(checked_json.dumps({"format": FORMAT}))
        catalogue._require_version()
        for folder in (catalogue.temporary, catalogue.manifests):
            catalogue.inside(folder).mkdir(exist_ok=True)
        return catalogue

    @classmethod
    def _in_folder(cls, root: Path | None) -> "Catalogue":
        catalogue = cls(place_of(root))
        if is_url(catalogue.root):
            raise CkptError(
                f"{catalogue} is on a server, where entries are listed, shown, pulled and pushed: `ckpttool zoo pull "
                f"{catalogue} N` copies one to a catalogue in a folder, where it can be read and changed; {VARIABLE} "
                f"specifies the folder"
            )
        return catalogue

    def _require_version(self) -> None:
        raw = self._read(self.root / HEAD)
        try:
            version = checked_json.loads(raw).get("format")
        except ValueError as error:
            raise CorruptCheckpoint(f"{self}/{HEAD} is damaged: {error}") from error
        if not isinstance(version, int) or version > FORMAT:
            raise FormatError(f"{self} has format {version}, this version of ckpttool reads up to {FORMAT}: update it")

    def __str__(self) -> str:
        return without_secrets(whole_url(self.root)) if is_url(self.root) else str(self.root)

    manifests = property(lambda self: self.root / "manifests")
    temporary = property(lambda self: self.inside(self.root / "tmp"))
    condemned = property(lambda self: self.inside(self.root / "condemned"))
    index = property(lambda self: self.root / "index.sqlite")

    def blob(self, sha256: str) -> Path:
        """Return the path of the blob with a hash."""
        return Path(self.root, "blobs", "sha256", sha256[:2], sha256)

    def folder(self, name: str) -> Path:
        """Return the folder of an entry's manifests and tags."""
        return Path(self.manifests, name)

    def manifest_path(self, name: str, revision: int) -> Path:
        """Return the path of a revision's manifest."""
        return self.folder(name) / f"{revision:06d}.json"

    def tag_path(self, name: str, tag: str) -> Path:
        """Return the path of a tag's file."""
        return self.folder(name) / f"{tag}{TAG}"

    def by_name(self, name: str, revision: int | None = None) -> Path:
        """Return the folder with the files of an entry, or of one revision, under their own names."""
        folder = self.root / "by-name" / name
        return folder if revision is None else folder / str(revision)

    def inside(self, path: Path) -> Path:
        """Return a path within the catalogue unchanged, after checking it for symbolic links.

        Raises:
            CorruptCheckpoint: a component is a link, which may lead out of the catalogue.
        """
        for each in (path, *path.parents):
            if each == self.root:
                break
            if each.is_symlink():
                raise CorruptCheckpoint(f"{each} is a link, which is not followed: a catalogue contains none")
        return path

    def names(self) -> list[str]:
        """Return the names of all entries."""
        return sorted(folder.name for folder in self.folders())

    def folders(self) -> Iterator[os.DirEntry[str]]:
        """Yield the folders of all entries."""
        if self.inside(self.manifests).is_dir():
            with os.scandir(self.manifests) as found:
                yield from (each for each in found if is_name(each.name) and each.is_dir(follow_symlinks=False))

    def revisions(self, name: str) -> list[int]:
        """Return the revision numbers of an entry in ascending order."""
        return sorted(number for number, kind in self._numbers(name) if kind == "json")

    def last_number(self, name: str) -> int:
        """Return the highest revision number ever used, including removed revisions; 0 if there is none."""
        return max((number for number, _ in self._numbers(name)), default=0)

    def next_number(self, name: str) -> int:
        """Return the number for a new revision.

        Raises:
            CkptError: the highest possible number is in use.
        """
        if (last := self.last_number(name)) >= MOST_REVISIONS:
            raise CkptError(f"{name} has the revision {last}, the highest possible: add the model under another name")
        return last + 1

    def _numbers(self, name: str) -> Iterator[tuple[int, str]]:
        for each in self._files(name):
            if match := _REVISION.fullmatch(each):
                yield int(match[1]), match[2]

    def tags(self, name: str) -> dict[str, int]:
        """Return the revision number of each tag of an entry, without tags of removed revisions."""
        revisions = set(self.revisions(name))
        named = [each.removesuffix(TAG) for each in self._files(name) if each.endswith(TAG)]
        found = {tag: self._tagged(name, tag) for tag in sorted(named) if is_name(tag)}
        return {tag: revision for tag, revision in found.items() if revision in revisions}

    def _tagged(self, name: str, tag: str) -> int:
        try:
            text = self._read(self.tag_path(name, tag))[:_LONGEST_TAG].strip()
        except FileNotFoundError:
            return 0
        return int(text) if re.fullmatch(rb"\d{1,9}", text) else 0

    def _files(self, name: str) -> list[str]:
        try:
            with os.scandir(self.inside(self.folder(name))) as found:
                return [each.name for each in found if each.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def manifest(self, name: str, revision: int) -> Manifest:
        """Read the manifest of a revision.

        Raises:
            MissingFile: the revision does not exist.
            CorruptCheckpoint: the manifest is damaged.
        """
        try:
            return Manifest.loads(self._read(self.manifest_path(name, revision)), name, revision)
        except FileNotFoundError as error:
            raise MissingFile(f"{self} has no {name}@{revision}") from error

    def rescued(self, sha256: str) -> bool:
        """Restore a blob that was set aside for removal but is not yet deleted; return whether it was restored."""
        blob = self.inside(self.blob(sha256))
        for path in self.condemned.glob(f"{sha256}.{'?' * 12}"):
            with contextlib.suppress(OSError):  # deleted meanwhile
                blob.parent.mkdir(parents=True, exist_ok=True)
                path.rename(blob)
                return True
        return False

    def _read(self, path: Path) -> bytes:
        with plain_files.opened(self.inside(path)) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise CorruptCheckpoint(f"{path} has more than {MOST_BYTES} bytes, the limit")
        return text

    def find(self, which: Selector | str) -> Manifest:
        """Read the manifest of the selected revision.

        Raises:
            UnknownName: there is no such entry, revision or tag.
            CorruptCheckpoint: the manifest is damaged.
        """
        chosen = selector(which) if isinstance(which, str) else which
        return self.manifest(chosen.name, self.revision_of(chosen))

    def require_entry(self, name: str) -> list[int]:
        """Return the revision numbers of an existing entry.

        Raises:
            UnknownName: the entry does not exist.
            CkptError: the name is invalid.
        """
        if not (revisions := self.revisions(require_name(name))):
            near = suggestion(name, self.names())
            raise UnknownName(f"{self} has no entry {name}{near}; `ckpttool zoo list` lists them")
        return revisions

    def revision_of(self, chosen: Selector) -> int:
        """Return the number of the selected revision.

        Raises:
            UnknownName: there is no such entry, revision or tag.
        """
        name, revisions = chosen.name, self.require_entry(chosen.name)
        if chosen.tag is not None:
            tags = self.tags(name)
            if chosen.tag not in tags:
                raise UnknownName(f"{name} has no tag {chosen.tag}{suggestion(chosen.tag, tags)}")
            return tags[chosen.tag]
        if chosen.revision is not None and chosen.revision not in revisions:
            has = "had, it was removed" if chosen.revision <= self.last_number(name) else "has not"
            numbers = ", ".join(map(str, revisions[-5:]))
            raise UnknownName(f"{chosen}: a revision that {name} {has}; it has {numbers}")
        return chosen.revision or revisions[-1]
