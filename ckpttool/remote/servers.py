"""Servers through fsspec: metadata of a file, listing of a folder, a file to read; errors in one line."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingDependency
from ckpttool.core.shown_text import visible
from ckpttool.remote.paths import without_secrets

WEB = ("http", "https")
"""Schemes whose servers do not list folders."""
PACKAGES = {
    "http": "fsspec[http]",
    "https": "fsspec[http]",
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
}
"""What fsspec needs for a scheme."""
GONE = (404, 410)
BUSY = (429, 503)
"""Answers of a server that may say when it is to be asked again."""
LARGEST = 1 << 50
"""Bytes of a file; no file system holds one of more."""
MOST_LISTED = 1_000_000
"""Files of a folder that are listed."""
STEP = 4 << 20
"""Bytes that are asked for at once of a file that is fetched whole."""
SECONDS = 60
"""How long a web server may be silent."""
_MARKS = ("ETag", "etag", "blob_id", "md5Hash", "LastModified")
LONGEST_REASON = 300
"""Characters of what a server, or a library of it, says went wrong."""
_LEAST = "the server sends only the whole of a file"


class RemoteFile(NamedTuple):
    """A file on a server: its size, a mark that changes with its bytes, where the server gives one, and which it is."""

    size: int
    mark: str | None
    mark_kind: str | None = None


def lists(url: str) -> bool:
    """Return whether a server can list a folder."""
    return _scheme(url) not in WEB


def metadata(url: str) -> RemoteFile | None:
    """Return the metadata of a file, or None if it does not exist; of a web server, `web` has it.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        MissingDependency: a package is missing.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        try:
            info = system.info(path)
        except FileNotFoundError as error:
            cause = error.__cause__
            if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in GONE:
                return None
            raise cause from error
        return _remote_file(info)


def listing(url: str) -> dict[str, RemoteFile | None]:
    """Return the files of a folder by name, with None for folders; nothing if the folder does not exist.

    Raises:
        CkptError: the server refuses, cannot be reached, or lists more than any folder has.
        MissingDependency: a package is missing.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        system.invalidate_cache(path)
        try:
            infos = _listed(system, path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        inside = [info for info in infos if info["name"].rstrip("/") != path.rstrip("/")]
        return {info["name"].rstrip("/").rpartition("/")[2]: _remote_file(info) for info in inside}


def beneath(url: str) -> dict[str, RemoteFile]:
    """Return the files in a folder and in the folders in it, by their paths from there.

    Raises:
        CkptError: the server refuses, cannot be reached, or lists more than any folder has.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        system.invalidate_cache()
        start = len(path.rstrip("/")) + 1
        files = {info["name"][start:]: _remote_file(info) for info in _listed(system, path, flat=True)}
        return {name: file for name, file in files.items() if file}


def _listed(system: Any, path: str, flat: bool = False) -> list[dict[str, Any]]:
    """Return what is in a folder; of S3, which may list without end, no more is asked for than is believed."""
    if hasattr(system, "_iterdir"):
        import fsspec.asyn

        infos = fsspec.asyn.sync(system.loop, _some, system, path, flat)
    else:
        infos = list(system.find(path, detail=True).values()) if flat else system.ls(path, detail=True)
    if len(infos) > MOST_LISTED:
        raise CorruptCheckpoint(f"{system.unstrip_protocol(path)}: the server lists over {MOST_LISTED} files there")
    return cast(list[dict[str, Any]], infos)


async def _some(system: Any, path: str, flat: bool) -> list[dict[str, Any]]:
    """Return what S3 lists until it is too much."""
    from s3fs.errors import translate_boto_error

    bucket, key, _ = system.split_path(path)
    found = list[dict[str, Any]]()
    try:
        async for info in system._iterdir(
            bucket, delimiter="" if flat else "/", prefix=f"{key.strip('/')}/" if key else ""
        ):
            found.append(info)
            if len(found) > MOST_LISTED:
                break
    except Exception as error:  # botocore's, of many kinds
        raise translate_boto_error(error) from error
    return found


def read_all(urls: Sequence[str]) -> list[bytes | None]:
    """Return the bytes of several files of one server, asked for at once; None for those that are gone.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with one_line_errors(next(iter(urls), "")):
        if not urls:
            return []
        system, paths = file_system(urls[0])[0], [file_system(url)[1] for url in urls]
        found = system.cat([*paths, paths[0]], on_error="return")
        for each in found.values():
            if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                raise each
        return [found[path] if isinstance(found[path], bytes) else None for path in paths]


def opened(url: str, size: int) -> Any:
    """Return fsspec's file, which fetches just what is read."""
    with one_line_errors(url):
        system, path = file_system(url)
        return system.open(path, "rb", cache_type="none", size=size)


def read(url: str) -> bytes | None:
    """Return the bytes of a file, or None if it does not exist.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        system.invalidate_cache()
        try:
            return bytes(system.cat_file(path))
        except FileNotFoundError:
            return None


def created(url: str, data: bytes) -> bool:
    """Write a file where none is, and return whether none was.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        try:
            system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True


def upload(file: Path, url: str) -> None:
    """Write a file from the disk, whole or not at all.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        system.put_file(str(file), path)


def download(url: str, size: int, at: int, take: Callable[[int, bytes], object]) -> None:
    """Give the bytes of a file from one on as they come, and no more than it is to have.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        CorruptCheckpoint: it gives fewer.
    """
    with one_line_errors(url), opened(url, size) as file:
        file.seek(at)
        while at < size and (piece := file.read(min(STEP, size - at))):
            take(at, piece)
            at += len(piece)
    if at < size:
        raise CorruptCheckpoint(f"{without_secrets(url)}: the server gave {counted(at, 'byte')}, not {size}")


def write(url: str, data: Any) -> None:
    """Write a file, whole or not at all, in the place of one that is there.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with one_line_errors(url):
        system, path = file_system(url)
        system.pipe_file(path, bytes(data))


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turn whatever goes wrong with a server into an error of one line.

    Raises:
        CkptError: something did.
        MissingDependency: a package is missing.
    """
    bare = without_secrets(url)
    try:
        yield
    except CkptError:
        raise
    except ImportError as error:
        scheme = _scheme(url)
        package = "ckpttool[remote]" if str(error.name).startswith("fsspec") else PACKAGES.get(scheme, error.name)
        raise MissingDependency(f"{bare}: reading {scheme}:// needs a package: pip install '{package}'") from error
    except Exception as error:  # every backend of fsspec has a family of errors of its own
        raise CkptError(f"{bare}: {without_secrets(_reason(error))}") from error


def waiting(status: int, headers: Mapping[str, str]) -> int | None:
    """Return how many seconds a server asks to wait because it has too many requests, if that is what it answers."""
    text = headers.get("Retry-After", "")
    return int(text) if status in BUSY and re.fullmatch(r"\d{1,6}", text, re.ASCII) else None


def _reason(error: Exception) -> str:
    if "range requests" in str(error):
        return f"{_LEAST}, and this one is large: download it, and name the file"
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {SECONDS} seconds"
    status, message = getattr(error, "status", None), getattr(error, "message", "")
    if isinstance(error, PermissionError) or status in (401, 403):
        return f"the server refuses it ({status or error}): are there credentials, and may they read it?"
    if "credentials" in str(error):
        return f"{error}: set those of the service, or FSSPEC_S3_ANON=true for a public bucket"
    wait = waiting(status, getattr(error, "headers", None) or {}) if status in BUSY else None
    later = f": try again in {counted(wait, 'second')}" if wait is not None else ""
    text = f"the server answers {status} {message}{later}" if status else str(error)
    return visible(" ".join(text.split()))[:LONGEST_REASON] or type(error).__name__


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and its name there."""
    import fsspec.core

    system, path = fsspec.core.url_to_fs(url, **(_web_options() if _scheme(url) in WEB else {}))
    return system, path


def _web_options() -> dict[str, Any]:
    """Return how to speak to web servers: bytes as they are, and an end to what does not come."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=SECONDS, sock_read=SECONDS)
    client = {"timeout": timeout, "auto_decompress": False}
    return {"headers": {"Accept-Encoding": "identity"}, "client_kwargs": client}


def _remote_file(info: dict[str, Any]) -> RemoteFile | None:
    """Return the file that an answer of fsspec is about.

    Raises:
        CkptError: the server does not say how large it is.
    """
    if info.get("type") == "directory":
        return None
    if info.get("size") is None:
        url = without_secrets(info["name"])
        raise CkptError(f"{url}: the server does not say how large the file is: download it, and name the file")
    size, kind = int(info["size"]), next((key for key in _MARKS if info.get(key)), None)
    if not 0 <= size <= LARGEST:
        raise CkptError(f"{without_secrets(info['name'])}: the server says that the file has {counted(size, 'byte')}")
    return RemoteFile(size, str(info[kind]) if kind else None, kind)


def _scheme(url: str) -> str:
    return url.partition(":")[0]
