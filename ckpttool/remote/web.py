"""Files on web servers: every answer is checked against the request, and against the version of the file.

A server may send another range than requested, a changed or compressed file, more bytes than announced, or one byte
per minute; it may redirect. None of that may be mistaken for the weights.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.shown_text import visible
from ckpttool.remote import server_errors, servers
from ckpttool.remote.paths import without_secrets
from ckpttool.remote.patience import patience_with

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

MOST_REDIRECTS = 10
PARTIAL, NOT_SATISFIABLE = 206, 416
STEP = 1 << 20
_MARKS = ("ETag", "Last-Modified")
_REDIRECTS = (301, 302, 303, 307, 308)
_SECRETS = ("authorization", "cookie")
Take = Callable[[int, bytes], object]
"""A callback for fetched bytes: the offset in the file, and the bytes."""


def metadata(url: str) -> servers.RemoteFile | None:
    """Return the metadata of a file, or None if it does not exist or the answer is an HTML page.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        MissingDependency: a package is missing.
    """
    return cast(servers.RemoteFile | None, _run(url, 0, _metadata))


def fetch(url: str, file: servers.RemoteFile, start: int, stop: int, take: Take) -> None:
    """Fetch the bytes from `start` to `stop` in one request, and pass them to `take` as they arrive.

    Raises:
        CkptError: the server does not send them, or not in time.
        CorruptCheckpoint: it sends another range, more or fewer bytes, or another version of the file.
    """
    _run(url, stop - start, lambda system, path: _fetch(system, path, file, start, stop, take))


def _run(url: str, size: int, ask: Callable[[Any, str], Any]) -> Any:
    """Run a request within the server's time budget, and return its result."""
    with server_errors.one_line_errors(url):
        import asyncio

        import fsspec.asyn

        system, path = servers.file_system(url)

        async def in_time() -> Any:
            async with asyncio.timeout(seconds):
                return await ask(system, path)

        with patience_with(urlsplit(url).netloc).during(size) as seconds:
            return fsspec.asyn.sync(system.loop, in_time)


async def _metadata(system: Any, url: str) -> servers.RemoteFile | None:
    """Request a file's headers by HEAD, or its first byte if HEAD fails or yields no size or version."""
    answer = head = await _asked(system, "HEAD", url, {})
    answer.close()
    if answer.status in servers.GONE:
        return None
    if not _says_size(head) or not _mark(head):
        answer = await _asked(system, "GET", url, {"Range": "bytes=0-0"})
        answer.close()
    if answer.status in servers.GONE:
        return None
    if answer.status != NOT_SATISFIABLE:  # the answer for an empty file
        answer.raise_for_status()
    if "html" in answer.headers.get("Content-Type", ""):
        return None
    _require_unpacked(answer, without_secrets(url))
    kind, sized = _mark(answer), head if _says_size(head) else answer
    return servers.RemoteFile(_size(sized, without_secrets(url)), answer.headers[kind] if kind else None, kind)


def _says_size(answer: "ClientResponse") -> bool:
    """Return whether an answer to HEAD succeeded and has the uncompressed size."""
    return answer.ok and "Content-Length" in answer.headers and not _packed(answer)


def _mark(answer: "ClientResponse") -> str | None:
    """Return the name of the header with the file's version, or None."""
    return next((name for name in _MARKS if answer.headers.get(name, "").strip()), None)


def _size(answer: "ClientResponse", url: str) -> int:
    """Return the size of a file in bytes.

    Raises:
        CkptError: the size is missing or impossible.
    """
    is_part = answer.status in (PARTIAL, NOT_SATISFIABLE)
    text = answer.headers.get("Content-Range" if is_part else "Content-Length", "").rpartition("/")[2]
    if not text or text == "*" or (not 200 <= answer.status < 300 and not is_part):
        raise CkptError(f"{url}: the server does not say how large the file is: download it, and give its path")
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > servers.LARGEST:
        raise CkptError(f"{url}: the server says that the file has {text[:20]} bytes")
    return int(text)


async def _fetch(system: Any, url: str, file: servers.RemoteFile, start: int, stop: int, take: Take) -> None:
    """Request a range of the known version of a file, and read no more than that."""
    headers = {"Range": f"bytes={start}-{stop - 1}"}
    if file.mark_kind == "ETag" and str(file.mark).startswith('"'):
        headers["If-Range"] = str(file.mark)  # if the file has changed, the server sends all of it
    answer = await _asked(system, "GET", url, headers)
    try:
        if answer.status == NOT_SATISFIABLE:
            raise CorruptCheckpoint(f"{without_secrets(url)} changed while it was read: it ends before byte {start}")
        answer.raise_for_status()
        _require_answer(answer, without_secrets(url), file, start, stop)
        await _take_body(answer, without_secrets(url), start, stop, take)
    finally:
        answer.close()


async def _asked(system: Any, method: str, url: str, headers: dict[str, str]) -> "ClientResponse":
    """Return a server's answer; if it reports too many requests, retry after the time it requests."""
    import asyncio

    waited = 0
    while True:
        answer = await _answered(system, method, url, headers)
        wait = server_errors.waiting(answer.status, answer.headers)
        if wait is None or waited + max(wait, 1) > server_errors.SECONDS:
            return answer
        answer.close()
        waited += max(wait, 1)
        await asyncio.sleep(wait)


async def _answered(system: Any, method: str, url: str, headers: dict[str, str]) -> "ClientResponse":
    """Return a server's answer after following redirects.

    Raises:
        CkptError: a redirect is invalid or not allowed, or there are too many.
    """
    import aiohttp

    options = dict(system.kwargs)
    headers = {**options.pop("headers", {}), **headers}
    waiting = aiohttp.ClientTimeout(total=None, sock_connect=server_errors.SECONDS, sock_read=server_errors.SECONDS)
    session, place = await system.set_session(), system.encode_url(url)
    for _ in range(MOST_REDIRECTS + 1):
        options |= {"headers": headers, "timeout": waiting, "allow_redirects": False}
        answer: ClientResponse = await session.request(method, place, **options)
        if answer.status not in _REDIRECTS:
            return answer
        answer.close()
        before, place = place, _place_of(place, answer.headers.get("Location", ""), without_secrets(url))
        if before.origin() != place.origin():
            await _require_same_network(system.loop, before, place, without_secrets(url))
            headers = {name: value for name, value in headers.items() if name.lower() not in _SECRETS}
            options.pop("auth", None)
    raise CkptError(f"{without_secrets(url)}: the server redirects over {MOST_REDIRECTS} times")


def _place_of(url: "URL", location: str, named: str) -> "URL":
    """Return the target of a redirect.

    Raises:
        CkptError: it is not a URL, not HTTP, or downgrades from HTTPS.
    """
    shown = visible(without_secrets(location)[:200])
    try:
        place = url.join(type(url)(location.strip()))
    except ValueError:
        place = None
    if not location.strip() or place is None or (place.scheme in servers.WEB and not place.host):
        raise CkptError(f"{named}: the server redirects, but not to a valid URL ({shown or 'none is given'})")
    if place.scheme not in servers.WEB or url.scheme == "https" != place.scheme:
        raise CkptError(
            f"{named}: the server redirects to {shown}, which is not followed: download the file, and give its path"
        )
    return place


async def _require_same_network(loop: Any, url: "URL", place: "URL", named: str) -> None:
    """Refuse a redirect from a public address to a private network.

    Raises:
        CkptError: the target is private.
    """
    if not await _is_open(loop, place) and await _is_open(loop, url):
        raise CkptError(
            f"{named}: the server redirects to {visible(place.host or '')[:200]}, an address of the private network"
        )


async def _is_open(loop: Any, url: "URL") -> bool:
    """Return whether all addresses of a URL's host are public."""
    import ipaddress
    import socket

    found = await loop.getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(address[0].partition("%")[0]).is_global for *_, address in found)


def _packed(answer: "ClientResponse") -> str:
    """Return the compression of an answer's body; an empty string if there is none."""
    packed = answer.headers.get("Content-Encoding", "").strip().lower()
    return "" if packed == "identity" else packed


def _require_unpacked(answer: "ClientResponse", url: str) -> None:
    if packed := _packed(answer):
        raise CkptError(
            f"{url}: the server compresses the file ({packed[:20]}), though not asked to: download it, and give its "
            "path"
        )


def _require_answer(answer: "ClientResponse", url: str, file: servers.RemoteFile, start: int, stop: int) -> None:
    """Check an answer's headers against the request.

    Raises:
        CorruptCheckpoint: it is another version of the file, or another range.
        CkptError: the body is compressed.
        ValueError: the server ignores range requests.
    """
    headers = answer.headers
    _require_unpacked(answer, url)
    kind = file.mark_kind or _mark(answer)
    if kind and (mark := headers.get(kind)) != file.mark:
        is_other = "gone" if mark is None else "another one" if file.mark else "new"
        raise CorruptCheckpoint(f"{url} changed while it was read: its {kind} is {is_other}")
    if answer.status == PARTIAL:
        given, expected = headers.get("Content-Range", "nothing"), f"bytes {start}-{stop - 1}/"
        if given not in (f"{expected}{file.size}", f"{expected}*"):
            raise CorruptCheckpoint(f"{url}: the server gave {given[:60]}, not {expected}{file.size}")
    elif start:
        raise ValueError("the server does not answer range requests")
    elif headers.get("Content-Length", str(file.size)) != str(file.size):
        raise CorruptCheckpoint(f"{url} changed while it was read: it has {headers['Content-Length'][:20]} bytes now")


async def _take_body(answer: "ClientResponse", url: str, start: int, stop: int, take: Take) -> None:
    """Read the requested bytes of an answer; a partial answer must end there.

    Raises:
        CorruptCheckpoint: it has fewer bytes, or a partial answer has more.
    """
    at = start
    while at < stop and (piece := await answer.content.read(min(STEP, stop - at))):
        take(at, piece)
        at += len(piece)
    if at < stop:
        raise CorruptCheckpoint(f"{url}: the server gave {counted(at - start, 'byte')} at {start}, not {stop - start}")
    if answer.status == PARTIAL and await answer.content.read(1):
        raise CorruptCheckpoint(f"{url}: the server gave more bytes than the {stop - start} that were asked for")
