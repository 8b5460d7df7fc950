"""The Hugging Face Hub through its own library: addresses, file lists, downloads into its cache, commits.

The library resumes interrupted downloads and caches finished files, but does not verify their content. Here files are
compared with the sizes and hashes that the Hub lists, and removed from the cache if they differ.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ckpttool.catalogue.manifest import safe_path
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.shown_text import visible
from ckpttool.remote import servers
from ckpttool.remote.paths import without_secrets
from ckpttool.zoo.hub_library import api, counting, library, one_line, patiently, plain_marks

SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<path>.*))?",
    re.ASCII,
)
MOST_FILES = 100_000
"""The maximum number of files of a repository."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class HubAddress:
    """The address of a model on the Hub: repository, revision, and path in it; an empty path selects automatically."""

    repository: str
    revision: str | None = None
    path: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Parse an address.

        >>> HubAddress.of("hf://org/model@v1/tf/model.h5")
        HubAddress(repository='org/model', revision='v1', path='tf/model.h5')

        Raises:
            CkptError: it has another form.
        """
        match = _ADDRESS.fullmatch(url)
        if match is None:
            raise CkptError(
                f"{visible(without_secrets(url))[:200]} is not a model of the hub: hf://ORG/MODEL[@REVISION]"
            )
        return cls(match["repository"], match["revision"], (match["path"] or "").strip("/"))

    @property
    def name(self) -> str:
        """The name of the model without its organisation."""
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True)
class HubFile:
    """A file as listed by the Hub: its size, and its SHA-256 or Git blob hash."""

    size: int
    sha256: str | None
    git: str | None


@dataclass(frozen=True)
class Repository:
    """A repository at a commit, with its files."""

    address: HubAddress
    commit: str
    files: Mapping[str, HubFile]

    @classmethod
    def at(cls, address: HubAddress) -> Self:
        """Request the file list of a repository.

        Raises:
            MissingFile: the repository or revision does not exist, or is not accessible.
            CkptError: the Hub refuses, cannot be reached, or sends an invalid answer.
        """
        with one_line(address):
            info: Any = patiently(
                lambda: api().model_info(address.repository, revision=address.revision, files_metadata=True)
            )
            siblings = info.siblings or []
            if len(siblings) > MOST_FILES:
                raise CkptError(f"{address}: the hub lists {len(siblings)} files, at most {MOST_FILES} are searched")
            files = {each.rfilename: _listed(address, each) for each in siblings}
            if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
                raise CkptError(f"{address}: the hub returns no commit")
        return cls(address, info.sha, files)

    def require_place(self, names: Iterable[str]) -> None:
        """Check that the disk of the library's cache has space for files of the listed sizes.

        Raises:
            CkptError: it does not.
        """
        with one_line(self.address):
            cache = Path(library().constants.HF_HUB_CACHE)
        cache = next(each for each in (cache, *cache.parents) if each.exists())
        size, free = sum(self.files[name].size for name in names), shutil.disk_usage(cache).free
        if size > free:
            raise CkptError(f"{self.address}: the hub lists {counted(size, 'byte')}, but {cache} has space for {free}")

    def download(self, name: str) -> Path:
        """Return the path of a verified file in the library's cache, after downloading it if necessary.

        Raises:
            CorruptCheckpoint: it differs from the listed size or hash, and was removed from the cache.
            CkptError: the Hub refuses, or cannot be reached.
        """
        file, where = self.files[name], f"{self.address}/{name}"
        with one_line(where), plain_marks(where):
            found = Path(
                api().hf_hub_download(
                    self.address.repository, name, revision=self.commit, tqdm_class=counting(where, file.size)
                )
            )
        try:
            _require_listed(found, file, where)
        except CorruptCheckpoint:
            for each in (found.resolve(), found):
                each.unlink(missing_ok=True)
            raise
        return found


def commit(address: HubAddress, files: Mapping[str, Path | bytes], message: str, public: bool) -> str:
    """Upload files to a repository in one commit, and create it if necessary; return the commit.

    Raises:
        CkptError: the Hub refuses, or cannot be reached.
    """
    with one_line(address):
        hub = api()
        if not patiently(lambda: hub.repo_exists(address.repository)):
            hub.create_repo(address.repository, private=not public, exist_ok=True)
        operations = [library().CommitOperationAdd(name, data) for name, data in files.items()]
        done = hub.create_commit(address.repository, operations, commit_message=message, revision=address.revision)
    return str(done.oid)


def _listed(address: HubAddress, sibling: Any) -> HubFile:
    """Return a file from the Hub's answer.

    Raises:
        CkptError: its path or size is invalid.
    """
    safe_path(sibling.rfilename, str(address))
    size, sha256 = sibling.size, sibling.lfs.sha256 if sibling.lfs else None
    if not isinstance(size, int) or not 0 <= size <= servers.LARGEST:
        raise CkptError(f"{address}/{sibling.rfilename}: the hub does not say how large it is")
    return HubFile(size, sha256, sibling.blob_id)


def _require_listed(found: Path, file: HubFile, where: str) -> None:
    """Compare a file with the size and hash that the Hub lists.

    Raises:
        CorruptCheckpoint: they differ.
    """
    size = found.stat().st_size
    if size != file.size:
        raise CorruptCheckpoint(f"{where} has {counted(size, 'byte')}, but the hub lists {file.size}")
    total = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with found.open("rb") as opened:
        while piece := opened.read(_PIECE):
            total.update(piece)
    expected, kind = (file.sha256, "SHA-256") if file.sha256 else (file.git, "Git hash")
    if total.hexdigest() != expected:
        raise CorruptCheckpoint(f"{where} has the {kind} {total.hexdigest()}, but the hub lists {expected}")
