"""Local paths for URLs: `https://host/a/model.ckpt` maps to FOLDER/https/host/a/model.ckpt in a temporary folder."""

import atexit
import re
from functools import cache
from pathlib import Path

from ckpttool.core.errors import TOLD, CkptError
from ckpttool.core.temporary_folders import TemporaryFolder

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://?([^/].*)", re.DOTALL)
_queries: dict[Path, str] = {}


def is_url(path: Path | str) -> bool:
    """Return whether a path is a URL, also one that has lost a slash as a `Path`.

    >>> is_url("s3://bucket/model.ckpt"), is_url(Path("s3://bucket/model.ckpt")), is_url("s3:/bucket"), is_url("a/b:c")
    (True, True, False, False)
    """
    match = _URL.fullmatch(str(path))
    return match is not None and (isinstance(path, Path) or "://" in path)


def refuse_url(path: Path) -> None:
    """Refuse an output that is a URL or an entry of the catalogue.

    Raises:
        CkptError: the output is one.
    """
    if str(path).startswith("zoo:"):
        raise CkptError(f"{path} is an entry of the catalogue: write a file, then store it with `ckpttool zoo add`")
    if is_url(path):
        raise CkptError(
            f"{whole_url(path)} is a URL, and outputs are written to local files only: write a file, then upload it"
        )


def refuse_url_input(path: Path | str) -> None:
    """Refuse a URL for inputs other than checkpoints and graphs.

    Raises:
        CkptError: the path is a URL.
    """
    if is_url(path):
        raise CkptError(
            f"{whole_url(path)} is a URL, from which only checkpoints and graphs are read: download the file"
        )


def path_of(url: Path | str) -> Path:
    """Return the local path of a URL, without the query, which may contain a secret signature.

    Raises:
        CkptError: the URL is invalid, or contains `..` or a null byte.
    """
    match = _URL.fullmatch(str(url))
    if match is None or ".." in match[2].split("/") or "\0" in match[2]:
        raise CkptError(f"{url} is not a URL of a file")
    rest, mark, query = match[2].partition("?") if match[1] in ("http", "https") else (match[2], "", "")
    path = _root() / match[1] / rest
    _queries[path] = mark + query
    if query:
        _queries[path.parent] = mark + query  # which also applies to the files beside it
    return path


def url_of(path: Path) -> str | None:
    """Return the URL that a local path stands for, or None."""
    if not _root.cache_info().currsize or not path.is_relative_to(_root()):
        return None
    scheme, *rest = path.relative_to(_root()).parts
    return f"{scheme}://{'/'.join(rest)}{_queries.get(path, _queries.get(path.parent, ''))}"


def is_remote(path: Path | str) -> bool:
    """Return whether a path is a URL, or stands for one."""
    return is_url(path) or url_of(Path(path)) is not None


def with_urls(text: str) -> str:
    """Return a text in which local paths that stand for URLs are replaced by the URLs."""
    if not _root.cache_info().currsize:
        return text
    return re.sub(rf"{re.escape(str(_root()))}/([^/\s]+)/", r"\1://", text)


def without_secrets(text: str) -> str:
    """Return a text in which URLs lack their query and credentials, such as signatures and passwords.

    >>> without_secrets("--into=https://me:key@host/model.ckpt?X-Amz-Signature=1")
    '--into=https://host/model.ckpt'
    """
    return re.sub(r"(https?://[^?\s]*)\?\S*", r"\1", re.sub(r"://[^/@\s]*@", "://", text))


def whole_url(url: Path | str) -> str:
    """Return a URL with the slash restored that it lost as a `Path`.

    >>> whole_url(Path("s3://bucket/features"))
    's3://bucket/features'
    """
    return str(url) if "://" in str(url) else str(url).replace(":/", "://", 1)


@cache
def _root() -> Path:
    folder = TemporaryFolder.new("urls")
    TOLD.append(with_urls)
    atexit.register(folder.remove)
    return folder.path
