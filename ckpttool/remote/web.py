"""Ranges of files on web servers: an answer is held against what was asked for, and against the file as it was.

A server may give another part than the one asked for, a file that has changed since, a packed one, more bytes than it
says, or a byte a minute. None of that passes for the weights.
"""

from typing import TYPE_CHECKING, Any

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import servers
from ckpttool.remote.paths import without_secrets

if TYPE_CHECKING:
    from aiohttp import ClientResponse

SLOWEST = 32 << 10
"""Bytes a second, beyond the seconds that a server may be silent: a file that comes more slowly is given up."""
PARTIAL, NOT_SATISFIABLE = 206, 416
STEP = 1 << 20


def fetched(url: str, file: servers.RemoteFile, start: int, stop: int) -> bytes:
    """Return bytes of a file; fewer where the server ends before them.

    Raises:
        CkptError: the server does not give them, or not in time.
        CorruptCheckpoint: it gives others, or those of another file.
    """
    import fsspec.asyn

    with servers.one_line_errors(url):
        system, path = servers.file_system(url)
        seconds = servers.SECONDS + (stop - start) / SLOWEST
        return bytes(fsspec.asyn.sync(system.loop, _range, system, path, file, start, stop, seconds))


async def _range(system: Any, url: str, file: servers.RemoteFile, start: int, stop: int, seconds: float) -> bytes:
    """Ask for a range of the file as it was, and take no more than that."""
    import asyncio

    import aiohttp

    options = dict(system.kwargs)
    headers = {**options.pop("headers", {}), "Range": f"bytes={start}-{stop - 1}"}
    if file.mark_kind == "ETag" and str(file.mark).startswith('"'):
        headers["If-Range"] = str(file.mark)  # a server whose file has changed gives all of it
    session = await system.set_session()
    waiting = aiohttp.ClientTimeout(total=None, sock_connect=servers.SECONDS, sock_read=servers.SECONDS)
    asked = session.get(system.encode_url(url), headers=headers, timeout=waiting, **options)
    async with asyncio.timeout(seconds), asked as answer:
        if answer.status == NOT_SATISFIABLE:
            raise CorruptCheckpoint(f"{without_secrets(url)} changed while it was read: it ends before byte {start}")
        answer.raise_for_status()
        _require_answer(answer, without_secrets(url), file, start, stop)
        return await _body(answer, without_secrets(url), stop - start)


def _require_answer(answer: "ClientResponse", url: str, file: servers.RemoteFile, start: int, stop: int) -> None:
    """Hold an answer's headers against what was asked for.

    Raises:
        CorruptCheckpoint: it is of another file, or another part.
        CkptError: it is packed.
        ValueError: the server ignores ranges.
    """
    headers = answer.headers
    if (packed := headers.get("Content-Encoding", "identity").strip().lower()) not in ("identity", ""):
        raise CkptError(f"{url}: the server packs the file ({packed[:20]}), unasked: download it, and name the file")
    mark = headers.get(file.mark_kind) if file.mark_kind else None
    if mark is not None and mark != file.mark:
        raise CorruptCheckpoint(f"{url} changed while it was read: its {file.mark_kind} is another one")
    if answer.status == PARTIAL:
        given, expected = headers.get("Content-Range", "nothing"), f"bytes {start}-{stop - 1}/"
        if given not in (f"{expected}{file.size}", f"{expected}*"):
            raise CorruptCheckpoint(f"{url}: the server gave {given[:60]}, not {expected}{file.size}")
    elif start:
        raise ValueError("the server does not answer range requests")
    elif headers.get("Content-Length", str(file.size)) != str(file.size):
        raise CorruptCheckpoint(f"{url} changed while it was read: it has {headers['Content-Length'][:20]} bytes now")


async def _body(answer: "ClientResponse", url: str, size: int) -> bytes:
    """Return the first bytes of an answer, and of a part all that there are.

    Raises:
        CorruptCheckpoint: a part has more.
    """
    body = bytearray()
    while len(body) < size and (piece := await answer.content.read(min(STEP, size - len(body)))):
        body += piece
    if answer.status == PARTIAL and len(body) == size and await answer.content.read(1):
        raise CorruptCheckpoint(f"{url}: the server gave more bytes than the {size} that were asked for")
    return bytes(body)
