"""Possible answers of a web server other than the truth, a function for each: `LIES`, and `HONEST` but rare ones."""

import gzip
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from lying_server import Ask, Headers

NEW_MARKS = {"ETag": '"2"', "Last-Modified": "Sun, 29 Nov 2026 11:00:00 GMT"}


def _ranged(value: Callable[[Ask], str]) -> Callable[[Ask], None]:
    """Return a lie with another range."""
    return lambda ask: ask.honest(Content_Range=value(ask)) if ask.method != "HEAD" else ask.honest()


def _status(status: str, headers: Headers | None = None, body: bytes = b"no") -> Callable[[Ask], None]:
    return lambda ask: ask.send(status, headers or {}, body)


def _to(location: str, status: str = "302 Found") -> Callable[[Ask], None]:
    return lambda ask: ask.send(status, {"Location": location})


def _packed(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Ask], None]:
    def lie(ask: Ask) -> None:
        body = pack(ask.part)
        status = "206 Partial Content" if ask.is_ranged else "200 OK"
        ask.send(status, {**ask.trial.marks, "Content-Range": ask.range(), "Content-Encoding": name}, body)

    return lie


def _length(length: Callable[[Ask], object], shown: Callable[[Ask], bytes] = lambda ask: ask.part) -> Any:
    """Return a lie about the length of the body."""

    def lie(ask: Ask) -> None:
        status = "206 Partial Content" if ask.is_ranged else "200 OK"
        value = length(ask)
        pairs = [*ask.trial.marks.items(), *([("Content-Range", ask.range())] if ask.is_ranged else [])]
        lengths = value if isinstance(value, list) else [] if value is None else [value]
        ask.head(status, [*pairs, *(("Content-Length", str(each)) for each in lengths)])
        if ask.method != "HEAD":
            ask.raw(shown(ask))

    return lie


def _chunked(*pieces: bytes | None, **more: str) -> Callable[[Ask], None]:
    """Return a chunked answer; None stands for the right bytes."""

    def lie(ask: Ask) -> None:
        status = "206 Partial Content" if ask.is_ranged else "200 OK"
        others = {name.replace("_", "-"): value for name, value in more.items()}
        ask.head(status, {**ask.trial.marks, "Content-Range": ask.range(), "Transfer-Encoding": "chunked", **others})
        for piece in pieces if ask.method != "HEAD" else ():
            ask.raw(b"%x\r\n%s\r\n" % (len(ask.part), ask.part) if piece is None else piece)

    return lie


def _begun(ask: Ask) -> bool:
    """Start a correct answer; return whether it has a body."""
    status = "206 Partial Content" if ask.is_ranged else "200 OK"
    headers = {**ask.trial.marks, "Content-Range": ask.range(), "Content-Length": str(len(ask.part))}
    ask.head(status, headers)
    return ask.method != "HEAD"


def drip_of_body(ask: Ask) -> None:
    """Send single bytes with pauses."""
    if _begun(ask):
        for at in range(len(ask.part)):
            ask.raw(ask.part[at : at + 1])
            if ask.wait(0.05):
                return


def drip_of_headers(ask: Ask) -> None:
    """Send headers with pauses."""
    ask.raw(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        ask.raw(b"X-%d: y\r\n" % number)
        if ask.wait(0.05):
            return


def slow_each(ask: Ask) -> None:
    """Answer correctly, each time as late as the client allows."""
    if not ask.wait(0.35):
        ask.honest()


def silent(ask: Ask) -> None:
    """Send nothing."""
    ask.wait(60)


def silent_after_headers(ask: Ask) -> None:
    """Send nothing after the headers."""
    if _begun(ask):
        ask.wait(60)


def closes_amid(ask: Ask) -> None:
    """Send half."""
    if _begun(ask):
        ask.raw(ask.part[: len(ask.part) // 2])


def endless(ask: Ask) -> None:
    """Send what was requested, and continue forever."""
    status = "206 Partial Content" if ask.is_ranged else "200 OK"
    ask.head(status, {**ask.trial.marks, "Content-Range": ask.range()})
    ask.raw(ask.part)
    while not ask.trial.over.is_set():
        ask.raw(bytes(1 << 16))


def endless_chunks(ask: Ask) -> None:
    """Send chunks of zeros forever."""
    _chunked()(ask)
    while not ask.trial.over.is_set():
        ask.raw(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def endless_informational(ask: Ask) -> None:
    """Send informational answers forever."""
    while not ask.trial.over.is_set():
        ask.raw(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
        time.sleep(0.001)


def endless_header(ask: Ask) -> None:
    """Send an endless header."""
    ask.raw(b"HTTP/1.1 200 OK\r\nX: ")
    while not ask.trial.over.is_set():
        ask.raw(b"y" * (1 << 16))


def endless_redirects(ask: Ask) -> None:
    """Redirect forever to new places, all of which exist."""
    ask.send("302 Found", {"Location": f"{ask.name}?{time.monotonic_ns()}"})


def _multipart(ask: Ask) -> None:
    body = b"--b\r\nContent-Range: " + ask.range().encode() + b"\r\n\r\n" + ask.part + b"\r\n--b--\r\n"
    ask.send("206 Partial Content", {**ask.trial.marks, "Content-Type": "multipart/byteranges; boundary=b"}, body)


def _new(marks: Mapping[str, str]) -> Callable[[Ask], None]:
    return lambda ask: ask.honest(marks, ask.new)


def _after_102(ask: Ask) -> None:
    ask.raw(b"HTTP/1.1 102 Processing\r\n\r\n")
    ask.honest()


LOGIN = b"<html><form>Please log in</form></html>"
WEAK = {"ETag": 'W/"2"'}
HONEST: dict[str, Callable[[Ask], None]] = {
    "the truth": lambda ask: ask.honest(),
    "the truth, of a total that is not known": _ranged(lambda ask: ask.range().rpartition("/")[0] + "/*"),
    "the truth, in chunks": _chunked(None, b"0\r\n\r\n"),
    "the truth, and the length by closing": _length(lambda _: None),
    "the truth, after 102": _after_102,
    "the truth, all of it at once": lambda ask: ask.send("200 OK", ask.trial.marks, ask.data),
    "the truth, with a name for the file with ..": lambda ask: ask.honest(
        Content_Disposition='attachment; filename="../../etc/passwd"'
    ),
    "the truth, with cookies": lambda ask: ask.honest(Set_Cookie="a=" + "b" * 4000),
    "the truth, called identity": lambda ask: ask.honest(Content_Encoding="identity"),
}
"""Correct answers: what is read must be equal to the file."""

LIES: dict[str, Callable[[Ask], None]] = {
    "another start": _ranged(lambda ask: f"bytes {ask.start + 1}-{ask.stop - 1}/{len(ask.data)}"),
    "another end": _ranged(lambda ask: f"bytes {ask.start}-{ask.stop}/{len(ask.data)}"),
    "a larger total": _ranged(lambda ask: ask.range(len(ask.data) + 1)),
    "a smaller total": _ranged(lambda ask: ask.range(len(ask.data) - 1)),
    "no range": _ranged(lambda _: ""),
    "a range of words": _ranged(lambda _: "bytes all/of it"),
    "a range of items": _ranged(lambda ask: ask.range().replace("bytes", "items")),
    "a negative range": _ranged(lambda ask: f"bytes -5--1/{len(ask.data)}"),
    "a huge range": _ranged(lambda _: f"bytes {'9' * 5000}-{'9' * 5000}/{'9' * 5000}"),
    "an unsatisfied range": _ranged(lambda ask: f"bytes */{len(ask.data)}"),
    "two ranges": lambda ask: ask.send(
        "206 Partial Content",
        [*ask.trial.marks.items(), ("Content-Range", "bytes 0-0/1"), ("Content-Range", ask.range())],
        ask.part,
    ),
    "all of it as a part": lambda ask: ask.send(
        "206 Partial Content",
        {**ask.trial.marks, "Content-Range": f"bytes 0-{len(ask.data) - 1}/{len(ask.data)}"},
        ask.data,
    ),
    "a part as all of it": lambda ask: ask.send("200 OK", ask.trial.marks, ask.part),
    "the first bytes for any": lambda ask: ask.send(
        "206 Partial Content",
        {**ask.trial.marks, "Content-Range": f"bytes 0-{len(ask.part) - 1}/{len(ask.data)}"},
        ask.data[: len(ask.part)],
    ),
    "parts": _multipart,
    "another version with its marks": _new(NEW_MARKS),
    "another version with a weak mark": _new(WEAK),
    "another version without a mark": _new({}),
    "another version with a date alone": _new({"Last-Modified": NEW_MARKS["Last-Modified"]}),
    "another version with an empty mark": _new({"ETag": " ", "Last-Modified": " "}),
    "all of another version": lambda ask: ask.send("200 OK", NEW_MARKS, ask.new or b""),
    "all of another version without a mark": lambda ask: ask.send("200 OK", {}, ask.new or b""),
    "a file that has grown": lambda ask: ask.honest(NEW_MARKS, ask.data + b"more"),
    "a file that has shrunk": lambda ask: ask.honest(NEW_MARKS, ask.data[: len(ask.data) // 2]),
    "a mark of 100 KB": lambda ask: ask.honest({"ETag": '"' + "x" * 100_000 + '"'}),
    "gzip": _packed("gzip", gzip.compress),
    "deflate": _packed("deflate", zlib.compress),
    "br": _packed("br", lambda data: b"\x0b" + data[:100]),
    "zstd": _packed("zstd", lambda data: b"\x28\xb5\x2f\xfd" + data[:100]),
    "an unknown packing": _packed("\x1b[31mrot13", lambda data: data),
    "gzip that is cut off": _packed("gzip", lambda data: gzip.compress(data)[:-10]),
    "a gzip bomb": _packed("gzip", lambda _: gzip.compress(bytes(100_000_000), 1)),
    "gzip under way": _chunked(None, b"0\r\n\r\n", Transfer_Encoding="gzip, chunked"),
    "a length too small": _length(lambda ask: len(ask.part) - 1),
    "a length too large": _length(lambda ask: len(ask.part) + 1),
    "a huge length": _length(lambda _: 1 << 63),
    "a length of 5,000 digits": _length(lambda _: "9" * 5000),
    "a negative length": _length(lambda _: -5),
    "a length of words": _length(lambda _: "many"),
    "two lengths": _length(lambda ask: [len(ask.part), len(ask.part) + 5]),
    "no bytes": _length(lambda _: 0, lambda _: b""),
    "fewer bytes": _length(lambda ask: len(ask.part) - 1, lambda ask: ask.part[:-1]),
    "more bytes": _length(lambda ask: len(ask.part) + 4, lambda ask: ask.part + b"more"),
    "bytes without end": endless,
    "chunks without end": endless_chunks,
    "chunks without the last": _chunked(None),
    "a chunk of bad size": _chunked(b"zz\r\n"),
    "a chunk of huge size": _chunked(b"f" * 30 + b"\r\n"),
    "a drip": drip_of_body,
    "a drip of headers": drip_of_headers,
    "each answer late": slow_each,
    "silence": silent,
    "silence after the headers": silent_after_headers,
    "an end in the middle": closes_amid,
    "an end at once": lambda _: None,
    "garbage": lambda ask: ask.raw(b"\0\1\2\3\x1b[31m" * 1000),
    "HTTP 0.9": lambda ask: ask.raw(ask.part),
    "HTTP 7.3": lambda ask: ask.raw(b"HTTP/7.3 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a redirect to itself": lambda ask: ask.send("302 Found", {"Location": ask.name.rpartition("/")[2]}),
    "redirects without end": endless_redirects,
    "a redirect to a file": _to("file:///etc/passwd"),
    "a redirect to data": _to("data:,hello"),
    "a redirect to ftp": _to("ftp://127.0.0.1/x"),
    "a redirect to nobody": _to("http://127.0.0.1:1/x"),
    "a redirect to a port out of range": _to("http://127.0.0.1:99999999/x"),
    "a redirect to no host": _to("http:///x"),
    "a redirect beyond ASCII": _to("/ü\u202e/x", "301 Moved Permanently"),
    "a redirect with control characters": _to("/\x1b[31m\x07x", "308 Permanent Redirect"),
    "a redirect of 100 KB": _to("/" + "x" * 100_000),
    "a redirect without a place": _status("302 Found"),
    "a redirect to nothing": _to(""),
    "choices": _status("300 Multiple Choices"),
    "not modified": _status("304 Not Modified"),
    "other protocols": _status("101 Switching Protocols", {"Upgrade": "x", "Connection": "Upgrade"}),
    "progress without end": endless_informational,
    "no content": lambda ask: ask.head("204 No Content", ask.trial.marks),
    "reset content": _status("205 Reset Content", body=b""),
    "a bad request": _status("400 Bad Request"),
    "who are you": _status("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="\x1b[31m"'}),
    "forbidden": _status("403 Forbidden"),
    "not found": _status("404 Not Found"),
    "gone": _status("410 Gone"),
    "not satisfiable": _status("416 Range Not Satisfiable"),
    "too many": _status("429 Too Many Requests", {"Retry-After": "1000000000"}),
    "an error": _status("500 Internal Server Error"),
    "not now": _status("503 Service Unavailable", {"Retry-After": "1000000000"}),
    "a status of 999": _status("999 What"),
    "a status of words": lambda ask: ask.raw(b"HTTP/1.1 OK fine\r\n\r\n"),
    "a reason with escapes": _status("500 \x1b[31mred\x07 \u202e"),
    "a reason of 100 KB": _status("500 " + "x" * 100_000),
    "a page to log in": lambda ask: ask.send("200 OK", {"Content-Type": "text/html"}, LOGIN),
    "a page as a part": lambda ask: ask.send(
        "206 Partial Content", {"Content-Type": "text/html", "Content-Range": ask.range()}, LOGIN
    ),
    "a page of no type": lambda ask: ask.send("200 OK", {}, LOGIN),
    "a header of 1 MB": lambda ask: ask.honest(X="y" * 1_000_000),
    "a header without end": endless_header,
    "10,000 headers": lambda ask: ask.honest({f"X-{number}": "y" for number in range(10_000)}),
    "a header with NUL": lambda ask: ask.honest(X="a\0b"),
    "a header with a line break": lambda ask: ask.honest(X="a\r\nContent-Length: 5"),
    "a folded header": lambda ask: ask.honest(X="a\r\n b"),
    "a header without a colon": lambda ask: ask.honest(X="a\r\nno colon here"),
    "a body after its head": lambda ask: ask.raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ask.data), ask.data
    ),
}
"""False answers: what is read must be right anyway, or there must be an error of ckpttool."""
