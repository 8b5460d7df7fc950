"""Servers through fsspec: metadata of a file, listing of a folder, a file to read or to write."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import server_errors
from ckpttool.remote.paths import without_secrets

WEB = ("http", "https")
"""Schemes whose servers do not list folders."""
GONE = (404, 410)
LARGEST = 1 << 50
"""Bytes of a file; no file system holds one of more."""
MOST_LISTED = 1_000_000
"""Files of a folder that are listed."""
STEP = 4 << 20
"""Bytes that are asked for at once of a file that is fetched whole."""
_MARKS = ("ETag", "etag", "blob_id", "md5Hash", "LastModified")


class RemoteFile(NamedTuple):
    """A file on a server: its size, a mark that changes with its bytes, where the server gives one, and which it is."""

    size: int
    mark: str | None
    mark_kind: str | None = None


def lists(url: str) -> bool:
    """Return whether a server can list a folder."""
    return server_errors.scheme_of(url) not in WEB


def metadata(url: str) -> RemoteFile | None:
    """Return the metadata of a file, or None if it does not exist; of a web server, `web` has it.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        MissingDependency: a package is missing.
    """
    with server_errors.one_line_errors(url):
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
    with server_errors.one_line_errors(url):
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
    with server_errors.one_line_errors(url):
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
        raise CorruptCheckpoint(f"{system.unstrip_protocol(path)}: the server lists over {MOST_LISTED} files")
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
    with server_errors.one_line_errors(next(iter(urls), "")):
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
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        return system.open(path, "rb", cache_type="none", size=size)


def read(url: str) -> bytes | None:
    """Return the bytes of a file, or None if it does not exist.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with server_errors.one_line_errors(url):
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
    with server_errors.one_line_errors(url):
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
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        system.put_file(str(file), path)


def download(url: str, size: int, at: int, take: Callable[[int, bytes], object]) -> None:
    """Give the bytes of a file from one on as they come, and no more than it is to have.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        CorruptCheckpoint: it gives fewer.
    """
    with server_errors.one_line_errors(url), opened(url, size) as file:
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
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        system.pipe_file(path, bytes(data))


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and its name there."""
    import fsspec.core

    system, path = fsspec.core.url_to_fs(url, **(_web_options() if server_errors.scheme_of(url) in WEB else {}))
    return system, path


def _web_options() -> dict[str, Any]:
    """Return how to speak to web servers: bytes as they are, and an end to what does not come."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=server_errors.SECONDS, sock_connect=server_errors.SECONDS, sock_read=server_errors.SECONDS
    )
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
        raise CkptError(f"{url}: the server does not say how large the file is: download it, and give its path")
    size, kind = int(info["size"]), next((key for key in _MARKS if info.get(key)), None)
    if not 0 <= size <= LARGEST:
        raise CkptError(f"{without_secrets(info['name'])}: the server says that the file has {counted(size, 'byte')}")
    return RemoteFile(size, str(info[kind]) if kind else None, kind)
