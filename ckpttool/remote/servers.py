"""Servers through fsspec: metadata of files, listings of folders, reading and writing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.shown_text import visible
from ckpttool.remote import buckets, server_errors
from ckpttool.remote.paths import without_secrets

WEB = ("http", "https")
"""Schemes of servers that cannot list folders."""
GONE = (404, 410)
LARGEST = 1 << 50
"""The maximum size of a file in bytes; no file system supports more."""
MOST_LISTED = 100_000
"""The maximum number of files in a listing."""
PER_SECOND = 1000
"""The minimum number of files per second in a listing, apart from half of the timeout: a page has as many."""
STEP = 4 << 20
"""The size in bytes of one request for a file that is downloaded whole."""
_MARKS = ("ETag", "etag", "blob_id", "md5Hash", "LastModified")
_FIELDS = ("name", "type", "size", *_MARKS)


class RemoteFile(NamedTuple):
    """A file on a server: its size in bytes, and a mark of its version with the mark's kind, if the server has one."""

    size: int
    mark: str | None
    mark_kind: str | None = None


def lists(url: str) -> bool:
    """Return whether the server of a URL can list folders."""
    return server_errors.scheme_of(url) not in WEB


def metadata(url: str) -> RemoteFile | None:
    """Return the metadata of a file, or None if it does not exist; for web servers use `web.metadata`.

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
    """Return the entries of a folder by name, None for subfolders; an empty dict if the folder does not exist.

    Raises:
        CkptError: the server refuses, cannot be reached, or lists more than `MOST_LISTED` entries.
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
    """Return the files below a folder, recursively, by their relative paths.

    Raises:
        CkptError: the server refuses, cannot be reached, or lists more than `MOST_LISTED` files.
    """
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        system.invalidate_cache()
        start = len(path.rstrip("/")) + 1
        files = {info["name"][start:]: _remote_file(info) for info in _listed(system, path, flat=True)}
        return {name: file for name, file in files.items() if file}


def _listed(system: Any, path: str, flat: bool = False) -> list[dict[str, Any]]:
    """Return the entries of a folder; an endless listing from S3 is cut off just beyond the maximum."""
    if hasattr(system, "_iterdir"):
        import fsspec.asyn

        infos = fsspec.asyn.sync(system.loop, _some, system, path, flat)
    else:
        infos = list(system.find(path, detail=True).values()) if flat else system.ls(path, detail=True)
    if len(infos) > MOST_LISTED:
        raise CorruptCheckpoint(f"{system.unstrip_protocol(path)}: the server lists over {MOST_LISTED} files")
    return cast(list[dict[str, Any]], infos)


async def _some(system: Any, path: str, flat: bool) -> list[dict[str, Any]]:
    """Return S3's listing, up to one entry beyond the maximum.

    Raises:
        CorruptCheckpoint: it has no end, or lists a file twice.
    """
    import asyncio

    from s3fs.errors import translate_boto_error

    bucket, key, _ = system.split_path(path)
    found, start = dict[str, dict[str, Any]](), system.loop.time() + server_errors.SECONDS / 2
    where = system.unstrip_protocol(path)
    try:
        async with asyncio.timeout_at(start) as limit:
            async for info in system._iterdir(
                bucket, delimiter="" if flat else "/", prefix=f"{key.strip('/')}/" if key else ""
            ):
                if info["name"] in found:
                    raise CorruptCheckpoint(f"{where}: the server lists {visible(info['name'])[:200]} twice")
                found[info["name"]] = {field: info[field] for field in _FIELDS if field in info}
                limit.reschedule(start + len(found) / PER_SECOND)
                if len(found) > MOST_LISTED:
                    break
    except TimeoutError as error:
        raise CorruptCheckpoint(f"{where}: the server's list of files has no end") from error
    except CkptError:
        raise
    except Exception as error:  # botocore has many exception classes
        raise translate_boto_error(error) from error
    return list(found.values())


def read_all(urls: Sequence[str]) -> list[bytes | None]:
    """Return the contents of several files of one server, requested concurrently; None for missing ones.

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


def piece(url: str, file: RemoteFile, start: int, stop: int) -> bytes | None:
    """Return a range of a version of a file; None if the server is read by `opened`, which knows no versions.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        CorruptCheckpoint: the file has another version now.
    """
    if server_errors.scheme_of(url) not in buckets.SCHEMES:
        return None
    with server_errors.one_line_errors(url):
        return buckets.piece(*file_system(url), file.mark if file.mark_kind == "ETag" else None, start, stop)


def opened(url: str, size: int) -> Any:
    """Return fsspec's file object without read-ahead."""
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        return system.open(path, "rb", cache_type="none", size=size)


def read(url: str) -> bytes | None:
    """Return the content of a file, or None if it does not exist.

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
    """Create a file unless one exists; return whether it was created.

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
    """Upload a local file atomically.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        system.put_file(str(file), path)


def download(url: str, size: int, at: int, take: Callable[[int, bytes], object]) -> None:
    """Pass the bytes of a file from offset `at` up to `size` to `take(offset, piece)` as they arrive.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        CorruptCheckpoint: the file ends before `size`.
    """
    with server_errors.one_line_errors(url), opened(url, size) as file:
        file.seek(at)
        while at < size and (piece := file.read(min(STEP, size - at))):
            take(at, piece)
            at += len(piece)
    if at < size:
        raise CorruptCheckpoint(f"{without_secrets(url)}: the server gave {counted(at, 'byte')}, not {size}")


def write(url: str, data: Any) -> None:
    """Write a file atomically, replacing an existing one.

    Raises:
        CkptError: the server refuses, or cannot be reached.
    """
    with server_errors.one_line_errors(url):
        system, path = file_system(url)
        system.pipe_file(path, bytes(data))


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path of the URL on it."""
    import fsspec.core

    scheme = server_errors.scheme_of(url)
    options = _web_options() if scheme in WEB else buckets.options() if scheme in buckets.SCHEMES else {}
    system, path = fsspec.core.url_to_fs(url, **options)
    return system, path


def _web_options() -> dict[str, Any]:
    """Return fsspec's options for web servers: no compression, and timeouts."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=server_errors.SECONDS, sock_connect=server_errors.SECONDS, sock_read=server_errors.SECONDS
    )
    client = {"timeout": timeout, "auto_decompress": False}
    return {"headers": {"Accept-Encoding": "identity"}, "client_kwargs": client}


def _remote_file(info: dict[str, Any]) -> RemoteFile | None:
    """Return the file that fsspec's metadata describes, or None for a folder.

    Raises:
        CkptError: the size is missing or impossible.
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
