"""Hugging Face's hub, through its own library: addresses, what a repository has, downloads into its cache, commits.

The library resumes a download that breaks off, and keeps finished files in its cache, but believes what comes: here the
sizes and hashes that the hub lists are held against the bytes, and a file that has others is removed from the cache.
"""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ckpttool.catalogue.manifest import safe_path
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingDependency, MissingFile
from ckpttool.core.shown_text import visible
from ckpttool.remote import server_errors, servers
from ckpttool.remote.paths import without_secrets

SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w][\w.-]*/[\w][\w.-]*)(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<path>.*))?",
    re.ASCII,
)
MOST_FILES = 100_000
"""Files of a repository that are looked through."""
LONGEST_WAIT, MOST_TRIES = 60, 5
"""Seconds that a hub may ask to wait after too many requests, and how often it is asked."""
_PIECE = 1 << 20
_T = TypeVar("_T")


@dataclass(frozen=True)
class HubAddress:
    """A model on the hub: its repository, a revision, and where in there it is; empty for the obvious one."""

    repository: str
    revision: str | None = None
    path: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Read an address.

        >>> HubAddress.of("hf://org/model@v1/tf/model.h5")
        HubAddress(repository='org/model', revision='v1', path='tf/model.h5')

        Raises:
            CkptError: it is none.
        """
        match = _ADDRESS.fullmatch(url)
        if match is None:
            raise CkptError(f"{visible(without_secrets(url))[:200]} is no model of the hub: hf://ORG/MODEL[@REVISION]")
        return cls(match["repository"], match["revision"], (match["path"] or "").strip("/"))

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.repository.partition("/")[2]

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True)
class HubFile:
    """What the hub says of a file: its size, and the hash of its bytes, or that under which Git has it."""

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
        """Ask the hub what is there.

        Raises:
            MissingFile: nothing is, or nothing that may be read.
            CkptError: the hub refuses, cannot be reached, or answers what cannot be.
        """
        with _one_line(address):
            info: Any = _patiently(
                lambda: _api().model_info(address.repository, revision=address.revision, files_metadata=True)
            )
            siblings = info.siblings or []
            if len(siblings) > MOST_FILES:
                raise CkptError(
                    f"{address}: the hub lists {len(siblings)} files, at most {MOST_FILES} are looked through"
                )
            files = {each.rfilename: _listed(address, each) for each in siblings}
            if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
                raise CkptError(f"{address}: the hub names no commit")
        return cls(address, info.sha, files)

    def require_place(self, names: Iterable[str]) -> None:
        """Refuse files that have more bytes in all, as the hub lists them, than the library's cache has place for.

        Raises:
            CkptError: they have.
        """
        with _one_line(self.address):
            cache = Path(_library().constants.HF_HUB_CACHE)
        cache = next(each for each in (cache, *cache.parents) if each.exists())
        size, free = sum(self.files[name].size for name in names), shutil.disk_usage(cache).free
        if size > free:
            raise CkptError(f"{self.address}: the hub lists {counted(size, 'byte')}, and {cache} has place for {free}")

    def download(self, name: str) -> Path:
        """Return a file in the library's cache, whose bytes are those that the hub lists.

        Raises:
            CorruptCheckpoint: they are others; the cache has them no more.
            CkptError: the hub refuses, or cannot be reached.
        """
        file, where = self.files[name], f"{self.address}/{name}"
        with _one_line(where):
            found = Path(
                _api().hf_hub_download(
                    self.address.repository, name, revision=self.commit, tqdm_class=_counting(where, file.size)
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
    """Put files into a repository, which is made if it is not there, as one commit; return that.

    Raises:
        CkptError: the hub refuses, or cannot be reached.
    """
    with _one_line(address):
        api = _api()
        if not _patiently(lambda: api.repo_exists(address.repository)):
            api.create_repo(address.repository, private=not public, exist_ok=True)
        operations = [_library().CommitOperationAdd(name, data) for name, data in files.items()]
        done = api.create_commit(address.repository, operations, commit_message=message, revision=address.revision)
    return str(done.oid)


def _library() -> Any:
    """Return the library; its warnings have no signatures in their URLs, and its bars are drawn on terminals only."""
    import huggingface_hub
    import huggingface_hub.constants  # none of the three is there before it is asked for
    import huggingface_hub.errors
    import huggingface_hub.utils

    for handler in logging.getLogger(huggingface_hub.__name__).handlers:
        handler.addFilter(_without_secrets)
    if huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True


def _api() -> Any:
    """Return the library's client, of the hub that the environment names now."""
    return _library().HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="ckpttool")


def _listed(address: HubAddress, sibling: Any) -> HubFile:
    """Return what the hub says of a file, whose name must be one in the repository.

    Raises:
        CkptError: it says what cannot be.
    """
    safe_path(sibling.rfilename, str(address))
    size, sha256 = sibling.size, sibling.lfs.sha256 if sibling.lfs else None
    if not isinstance(size, int) or not 0 <= size <= servers.LARGEST:
        raise CkptError(f"{address}/{sibling.rfilename}: the hub does not say how large it is")
    return HubFile(size, sha256, sibling.blob_id)


def _require_listed(found: Path, file: HubFile, where: str) -> None:
    """Hold a file against what the hub lists.

    Raises:
        CorruptCheckpoint: it is another.
    """
    size = found.stat().st_size
    if size != file.size:
        raise CorruptCheckpoint(f"{where} has {counted(size, 'byte')}, the hub lists {file.size}")
    total = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with found.open("rb") as opened:
        while piece := opened.read(_PIECE):
            total.update(piece)
    expected, kind = (file.sha256, "SHA-256") if file.sha256 else (file.git, "Git hash")
    if total.hexdigest() != expected:
        raise CorruptCheckpoint(f"{where} has the {kind} {total.hexdigest()}, the hub lists {expected}")


def _counting(where: str, size: int) -> Any:
    """Return what the library reports its progress to, which ends a download that has more bytes than are listed."""

    class Counting(_library().utils.tqdm):  # type: ignore[misc]
        came: float = 0

        def update(self, n: float | None = 1) -> Any:
            self.came += n or 0
            if self.came > size:
                raise CorruptCheckpoint(f"{where}: the server gives more than the {size} bytes that the hub lists")
            return super().update(n)

    return Counting


def _patiently(ask: Callable[[], _T]) -> _T:
    """Ask again after the time that a hub asks for, if it has had too many requests."""
    for _ in range(MOST_TRIES - 1):
        try:
            return ask()
        except _library().errors.HfHubHTTPError as error:
            wait = _waiting(error)
            if wait is None or wait > LONGEST_WAIT:
                raise
            time.sleep(wait)
    return ask()


def _waiting(error: Any) -> int | None:
    """Return how many seconds a hub asks to wait, if it does."""
    return server_errors.waiting(error.response.status_code, error.response.headers)


@contextlib.contextmanager
def _one_line(where: object) -> Iterator[None]:
    """Turn what the library raises into an error of one line, in which neither a token nor a signed URL is.

    Raises:
        CkptError: something went wrong.
        MissingDependency: the library is missing.
    """
    try:
        yield
    except CkptError:
        raise
    except ImportError as error:
        raise MissingDependency(f"{where}: reading hf:// needs a package: pip install 'ckpttool[hub]'") from error
    except Exception as error:  # the library raises those of its HTTP client, of the system, and its own
        raise _said(where, error) from error


def _said(where: object, raised: Exception) -> CkptError:
    """Return an error as it is shown: what the hub answers, else what the library says was the cause."""
    errors, causes = _library().errors, [raised]
    while isinstance(cause := causes[-1].__cause__, Exception):
        causes.append(cause)
    error = next((each for each in causes if isinstance(each, errors.HfHubHTTPError)), causes[-1])
    if isinstance(error, errors.GatedRepoError):
        return CkptError(f"{where}: its terms must be accepted on its page first, and `hf auth login` says who you are")
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingFile(f"{where}: the repository has no such revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return MissingFile(f"{where} is missing: the hub has no such model, or not for you (`hf auth login`)")
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status, wait = error.response.status_code, _waiting(error)
        if status in (401, 403):
            return CkptError(f"{where}: the hub refuses it ({status}): does the token of `hf auth login` allow that?")
        later = f": try again in {counted(wait, 'second')}" if wait is not None else ""
        return CkptError(f"{where}: the hub answers {status} {error.response.reason_phrase}{later}")
    text = without_secrets(visible(" ".join(_without_token(str(error)).split())))
    return CkptError(f"{where}: {text[: server_errors.LONGEST_REASON] or type(error).__name__}")


def _without_token(text: str) -> str:
    """Return a text in which the user's token is not, as it is or as Python spells its bytes; most users have none."""
    token: str | None = _library().get_token()
    for spelled in (token, repr(token.encode())[2:-1]) if token else ():
        text = text.replace(spelled, "TOKEN")
    return text
