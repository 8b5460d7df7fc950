"""S3: s3fs takes what a server sends; here every answer is checked and bounded as those of web servers are (`web`).

The checks are in the HTTP session that s3fs's library uses, so that they apply to all that it asks for.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, Self

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.core.shown_text import visible
from ckpttool.remote import server_errors
from ckpttool.remote.patience import patience_with

if TYPE_CHECKING:
    from aiohttp import ClientResponse

SCHEMES = ("s3", "s3a")
PARTIAL, CHANGED = 206, 412
LONGEST_PAGE = 8 << 20
"""The maximum size in bytes of an answer that is no file; a page of a listing has a thousand names of a kilobyte."""
LONGEST_WHOLE = 64 << 20
"""The maximum size in bytes of a file that is requested whole; larger ones are requested in ranges."""


def options() -> dict[str, Any]:
    """Return fsspec's options for S3; none if the library has no setting for its session."""
    import inspect

    import fsspec.config
    from aiobotocore.config import AioConfig

    if "http_session_cls" not in inspect.signature(AioConfig).parameters:
        return {}
    own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"config_kwargs": {**own, "http_session_cls": _session_class()}}


def piece(system: Any, path: str, mark: str | None, start: int, stop: int) -> bytes:
    """Return a range of a file, of the version with this ETag.

    Raises:
        CorruptCheckpoint: it has another version now.
    """
    from s3fs.core import _fetch_range

    bucket, key, _ = system.split_path(path)
    try:
        return bytes(_fetch_range(system, bucket, key, None, start, stop, {"IfMatch": mark} if mark else {}))
    except OSError as error:
        answer = getattr(error.__cause__, "response", None) or {}
        if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") != CHANGED:
            raise
        raise CorruptCheckpoint(f"s3://{path} changed while it was read: its ETag is another one") from error


@cache
def _session_class() -> type:
    from aiobotocore.httpsession import AIOHTTPSession
    from aiohttp import ClientResponse
    from botocore.exceptions import HTTPClientError

    class Answer(ClientResponse):
        """An answer whose body is read within bounds, by itself and through `content`."""

        async def start(self, connection: Any) -> Self:
            await super().start(connection)
            _require_answer(self)
            self.content: Any = _Body(self, self.content)
            return self

    class Session(AIOHTTPSession):  # type: ignore[misc]
        """A session whose requests take bounded time."""

        async def _get_session(self, proxy_url: Any) -> Any:
            session = await super()._get_session(proxy_url)
            session._response_class = Answer
            return session

        async def send(self, request: Any) -> Any:
            try:
                return await _in_time(request.url, 0, super().send(request))
            except HTTPClientError as error:  # which is retried
                if isinstance(cause := error.kwargs.get("error"), CkptError):
                    raise cause from error
                raise

    return Session


class _Body:
    """The body of an answer: at most as many bytes as were requested, in bounded time."""

    def __init__(self, answer: "ClientResponse", content: Any) -> None:
        self._answer, self._content = answer, content
        self._limit = _limit(answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or all.

        Raises:
            CorruptCheckpoint: there are more than were requested.
            CkptError: they do not come in time.
        """
        wanted = self._limit if size < 0 else size
        return bytes(await _in_time(str(self._answer.url), wanted, self._read(wanted, size < 0)))

    async def _read(self, wanted: int, whole: bool) -> bytes:
        found = bytearray()
        while whole and (piece := await self._content.read(min(wanted + 1, 1 << 20))):
            found += piece
            if len(found) > wanted:
                raise CorruptCheckpoint(f"{_name(self._answer)}: the server gave more than {wanted} bytes")
        return bytes(found if whole else await self._content.read(wanted))


async def _in_time(url: str, size: int, asked: Any) -> Any:
    """Await an answer of a server for as long as its time budget allows.

    Raises:
        CkptError: it takes longer.
    """
    import asyncio
    from urllib.parse import urlsplit

    with patience_with(urlsplit(url).netloc).during(size) as seconds:
        try:
            async with asyncio.timeout(seconds):
                return await asked
        except TimeoutError as error:
            bare = visible(url.partition("?")[0])
            raise CkptError(f"{bare}: the server did not answer within {server_errors.SECONDS} seconds") from error


def _limit(answer: "ClientResponse") -> int:
    """Return the number of bytes that the body of an answer may have."""
    if asked := _range(answer):
        return asked[1] - asked[0]
    return LONGEST_PAGE if answer.url.query_string or not answer.ok else LONGEST_WHOLE


def _range(answer: "ClientResponse") -> tuple[int, int] | None:
    """Return the range of bytes that was requested and is sent; None for a whole file, a listing or an error."""
    first, dash, last = answer.request_info.headers.get("Range", "").removeprefix("bytes=").partition("-")
    return (int(first), int(last) + 1) if dash and first and last and answer.ok else None


def _require_answer(answer: "ClientResponse") -> None:
    """Check an answer's headers against the request.

    Raises:
        CorruptCheckpoint: it is another range, or another version of the file.
    """
    asked, given = _range(answer), answer.headers.get("Content-Range", "nothing")
    if asked and answer.status == PARTIAL and not given.startswith(f"bytes {asked[0]}-"):
        raise CorruptCheckpoint(f"{_name(answer)}: the server gave {visible(given)[:60]}, not bytes {asked[0]}-")
    mark = answer.request_info.headers.get("If-Match")
    if mark and answer.ok and answer.headers.get("ETag") != mark:
        raise CorruptCheckpoint(f"{_name(answer)} changed while it was read: its ETag is another one")


def _name(answer: "ClientResponse") -> str:
    return visible(str(answer.url.with_query(None).with_user(None)))
