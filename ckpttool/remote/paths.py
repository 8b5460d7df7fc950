"""Where the files of a URL stand: `https://host/a/model.ckpt` at FOLDER/https/host/a/model.ckpt."""

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from ckpttool.core.errors import CkptError

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://?([^/].*)", re.DOTALL)
_queries: dict[Path, str] = {}


def is_url(path: Path | str) -> bool:
    """Return whether a path is a URL; a `Path` made of one has lost a slash.

    >>> is_url("s3://bucket/model.ckpt"), is_url(Path("s3://bucket/model.ckpt")), is_url("s3:/bucket"), is_url("a/b:c")
    (True, True, False, False)
    """
    match = _URL.fullmatch(str(path))
    return match is not None and (isinstance(path, Path) or "://" in path)


def refuse_url(path: Path) -> None:
    """Refuse to write to a URL.

    Raises:
        CkptError: it is one.
    """
    if is_url(path):
        raise CkptError(f"{_whole(path)} is a URL: nothing is written there; write a file, and upload that")


def require_here(path: Path | str) -> None:
    """Refuse to read from a URL what is no checkpoint and no graph.

    Raises:
        CkptError: it is one.
    """
    if is_url(path):
        raise CkptError(f"{_whole(path)} is a URL: only checkpoints and graphs are read there; download the file")


def place_of(url: Path | str) -> Path:
    """Return where the files of a URL stand; a query, which may be a secret signature, is kept apart.

    Raises:
        CkptError: it leads out of itself.
    """
    match = _URL.fullmatch(str(url))
    if match is None or ".." in match[2].split("/"):
        raise CkptError(f"{url} is not a URL of a file")
    rest, mark, query = match[2].partition("?") if match[1] in ("http", "https") else (match[2], "", "")
    place = _root() / match[1] / rest
    _queries[place.parent] = mark + query
    return place


def url_of(place: Path) -> str | None:
    """Return the URL of what stands at a place, or None where nothing of a URL does."""
    if not _root.cache_info().currsize or not place.is_relative_to(_root()):
        return None
    scheme, *rest = place.relative_to(_root()).parts
    return f"{scheme}://{'/'.join(rest)}{_queries.get(place.parent, '')}"


def is_remote(path: Path | str) -> bool:
    """Return whether a path is a URL, or a place of one."""
    return is_url(path) or url_of(Path(path)) is not None


def spoken(text: str) -> str:
    """Return a text for the user, with URLs for places."""
    if not _root.cache_info().currsize:
        return text
    return re.sub(rf"{re.escape(str(_root()))}/([^/\s]+)/", r"\1://", text)


def without_secrets(text: str) -> str:
    """Return a text whose URLs have no query and nothing before their host: a signature, a password.

    >>> without_secrets("--into=https://me:key@host/model.ckpt?X-Amz-Signature=1")
    '--into=https://host/model.ckpt'
    """
    return re.sub(r"(https?://[^?\s]*)\?\S*", r"\1", re.sub(r"://[^/@\s]*@", "://", text))


def _whole(url: Path | str) -> str:
    """Return a URL with the slash that a `Path` made of it has lost."""
    return str(url) if "://" in str(url) else str(url).replace(":/", "://", 1)


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="ckpttool-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root
