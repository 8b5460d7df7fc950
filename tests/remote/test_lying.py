"""Lying servers: another range, a changed file, a compressed one, more bytes than requested, and single slow bytes."""

import asyncio
import errno
import gzip
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save
from yarl import URL

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.remote import patience, server_errors, servers, web

sys.path.append(str(Path(__file__).parents[2] / "trust"))
from lying_server import Server, Trial
from server_lies import HONEST
from server_lies import LIES as SERVER_LIES
from servers import versions, weights

OLD, NEW = (save({"a": np.full(50_000, value), "b": np.full(50_000, value)}) for value in (1.0, 2.0))
Answer = Callable[["Handler", bytes, int, int], None]


class Handler(BaseHTTPRequestHandler):
    """Serves the first bytes correctly, and answers later requests as a test defines."""

    server: Any

    def do_HEAD(self) -> None:
        self.head(200 if self.path.endswith("/x.safetensors") else 404, len(OLD))

    def do_GET(self) -> None:
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1
        answer: Answer = self.server.answer if start >= self.server.since else honest
        answer(self, OLD, start, stop)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"1"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Do not log."""


def part(handler: Handler, data: bytes, start: int, stop: int, body: bytes | None = None, **headers: str) -> None:
    """Answer with a part, or with the test's version of it."""
    content = {"Content_Range": f"bytes {start}-{stop - 1}/{len(OLD)}", **headers}
    body = data[start:stop] if body is None else body
    handler.head(206, len(body), **content)
    handler.wfile.write(body)


honest: Answer = part


def drip(handler: Handler, data: bytes, start: int, stop: int) -> None:
    handler.head(206, stop - start, Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
    for at in range(start, stop):
        handler.wfile.write(data[at : at + 1])
        handler.wfile.flush()
        if handler.server.stopped.wait(0.03):
            return


def without_end(handler: Handler, data: bytes, start: int, stop: int) -> None:
    handler.head(206, None, Content_Range=f"bytes {start}-{stop - 1}/{len(data)}")
    handler.wfile.write(data[start:stop])
    while not handler.server.stopped.is_set():
        handler.wfile.write(bytes(1 << 16))


LIES: dict[str, tuple[Answer, str]] = {
    "another part": (
        lambda h, d, a, b: part(h, d, a, b, NEW[: b - a], Content_Range=f"bytes 0-{b - a - 1}/{len(d)}"),
        "gave",
    ),
    "a part of a larger file": (
        lambda h, d, a, b: part(h, d, a, b, Content_Range=f"bytes {a}-{b - 1}/{len(d) + 1}"),
        "gave",
    ),
    "no word on which part": (lambda h, d, a, b: part(h, d, a, b, Content_Range="none"), "the server gave none"),
    "another version": (lambda h, d, a, b: part(h, NEW, a, b, ETag='"2"'), "changed while it was read: its ETag"),
    "all of another version": (
        lambda h, d, a, b: (h.head(200, len(NEW), ETag='"2"'), h.wfile.write(NEW)),
        "changed while",
    ),
    "packed": (
        lambda h, d, a, b: part(h, d, a, b, gzip.compress(d[a:b]), Content_Encoding="gzip"),
        r"compresses the file \(gzip\)",
    ),
    "fewer bytes": (lambda h, d, a, b: part(h, d, a, b, d[a : b - 1]), "bytes at"),
    "more bytes": (lambda h, d, a, b: part(h, d, a, b, d[a:b] + b"more"), "gave more bytes"),
    "nothing": (lambda h, d, a, b: part(h, d, a, b, b""), "gave 0 bytes"),
    "the end before": (lambda h, d, a, b: h.head(416, 0), "changed while it was read: it ends before byte"),
    "an error": (lambda h, d, a, b: h.head(503, 0), "the server answers 503"),
    "a drip": (drip, "did not answer within"),
    "bytes without end": (without_end, "gave more bytes"),
    "all of the file": (lambda h, d, a, b: (h.head(200, len(d)), h.wfile.write(d)), ""),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.daemon_threads, serving.handle_error = True, lambda *_: None  # type: ignore[method-assign]
        serving.stopped, serving.count = threading.Event(), 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.stopped.set()  # type: ignore[attr-defined]
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_no_weight(server, lie, monkeypatch):
    monkeypatch.setattr(server_errors, "SECONDS", 0.5)
    monkeypatch.setattr(patience, "SLOWEST", 1 << 30)
    monkeypatch.setattr(patience, "EACH", 0.01)
    monkeypatch.setattr(patience, "_patience", {})  # of other tests
    server.answer, says = LIES[lie]
    server.since, server.count = 100_000, server.count + 1
    url, start = f"http://127.0.0.1:{server.server_port}/{server.count}/x.safetensors", time.monotonic()
    if says:
        with pytest.raises(CkptError, match=says):
            checkpoint.open(url)["b"].read()
    else:
        np.testing.assert_array_equal(checkpoint.open(url)["b"].read(), np.full(50_000, 1.0))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("size", ["-1", str(1 << 60), "many"])
def test_a_size_that_cannot_be(server, size, monkeypatch):
    monkeypatch.setattr(Handler, "do_HEAD", lambda handler: handler.head(200, None, Content_Length=size))
    server.count += 1
    with pytest.raises(CkptError):
        checkpoint.open(f"http://127.0.0.1:{server.server_port}/{server.count}/x.safetensors")


class Said(NamedTuple):
    """What the headers of an answer say."""

    status: int
    headers: dict[str, str]


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (200, {"Content-Length": "7"}, 7),
        (299, {"Content-Length": "0"}, 0),
        (200, {"Content-Length": "7".zfill(20)}, 7),
        (206, {"Content-Length": "1", "Content-Range": "bytes 0-0/7"}, 7),
        (416, {"Content-Range": "bytes */0"}, 0),
        (200, {"Content-Length": str(servers.LARGEST)}, servers.LARGEST),
    ],
)
def test_the_size_of_a_file_is_that_of_all_of_it(status, headers, size):
    assert web._size(Said(status, headers), "x") == size


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        (200, {}, "does not say how large"),
        (300, {"Content-Length": "7"}, "does not say how large"),
        (199, {"Content-Length": "7"}, "does not say how large"),
        (206, {"Content-Length": "7"}, "does not say how large"),
        (206, {"Content-Range": "bytes 0-0/*"}, "does not say how large"),
        (206, {"Content-Range": "bytes 0-0"}, "says that the file has bytes 0-0 bytes"),
        (200, {"Content-Length": "-1"}, "says that the file has -1 bytes"),
        (200, {"Content-Length": "²"}, "says that the file has ² bytes"),
        (200, {"Content-Length": "0" * 21}, "says that the file has 0{20} bytes"),
        (200, {"Content-Length": str(servers.LARGEST + 1)}, "says that the file has"),
    ],
)
def test_a_size_that_is_none(status, headers, says):
    with pytest.raises(CkptError, match=f"x: the server {says}"):
        web._size(Said(status, headers), "x")


KNOWN = servers.RemoteFile(100, '"1"', "ETag")
PART = {"ETag": '"1"', "Content-Range": "bytes 10-19/100"}


@pytest.mark.parametrize(
    ("file", "status", "headers", "start"),
    [
        (KNOWN, 206, PART, 10),
        (KNOWN, 206, PART | {"Content-Range": "bytes 10-19/*"}, 10),
        (KNOWN, 206, PART | {"Content-Encoding": "identity"}, 10),
        (KNOWN, 200, {"ETag": '"1"'}, 0),
        (KNOWN, 200, {"ETag": '"1"', "Content-Length": "100"}, 0),
        (servers.RemoteFile(100, None), 206, {"Content-Range": "bytes 10-19/100"}, 10),
    ],
)
def test_an_answer_is_the_range_of_the_known_version(file, status, headers, start):
    web._require_answer(Said(status, headers), "x", file, start, start + 10)


@pytest.mark.parametrize(
    ("file", "status", "headers", "start", "says"),
    [
        (KNOWN, 206, PART | {"ETag": '"2"'}, 10, "its ETag is another one"),
        (KNOWN, 206, {"Content-Range": "bytes 10-19/100"}, 10, "its ETag is gone"),
        (servers.RemoteFile(100, None), 206, PART, 10, "its ETag is new"),
        (KNOWN, 206, PART | {"Content-Range": "bytes 10-18/100"}, 10, "gave bytes 10-18/100, not bytes 10-19/"),
        (KNOWN, 206, {"ETag": '"1"'}, 10, "the server gave nothing, not bytes 10-19/100"),
        (KNOWN, 200, {"ETag": '"1"'}, 10, "does not answer range requests"),
        (KNOWN, 200, {"ETag": '"1"', "Content-Length": "99"}, 0, "changed while it was read: it has 99 bytes now"),
        (KNOWN, 206, PART | {"Content-Encoding": "BR "}, 10, r"compresses the file \(br\)"),
    ],
)  # fmt: skip
def test_an_answer_that_is_another(file, status, headers, start, says):
    with pytest.raises((CkptError, ValueError), match=says):
        web._require_answer(Said(status, headers), "x", file, start, start + 10)


@pytest.mark.parametrize(
    ("headers", "mark"),
    [
        ({"ETag": '"1"', "Last-Modified": "now"}, "ETag"),
        ({"ETag": " ", "Last-Modified": "now"}, "Last-Modified"),
        ({}, None),
    ],
)  # fmt: skip
def test_a_version_has_a_mark_that_says_something(headers, mark):
    assert web._mark(Said(200, headers)) == mark


def test_a_file_for_which_the_disk_is_too_small_is_said_to_be_so(server, monkeypatch):
    def truncate(descriptor: int, size: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "truncate", truncate)
    server.count += 1
    with pytest.raises(CkptError, match="for which there is not enough space"):
        checkpoint.open(f"http://127.0.0.1:{server.server_port}/{server.count}/x.safetensors")


def address(*hosts: str) -> Any:
    """Return a resolver that knows the addresses of some hosts."""

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (dict(pair.split("=") for pair in hosts)[host], 0))]

    return type("Loop", (), {"getaddrinfo": staticmethod(getaddrinfo)})()


OPEN, CLOSED = (
    "open=93.184.216.34",
    ("closed=10.0.0.1", "closed=127.0.0.1", "closed=169.254.169.254", "closed=fe80::1%1"),
)


@pytest.mark.parametrize("closed", CLOSED)
def test_nobody_is_led_from_the_open_network_into_a_closed_one(closed):
    loop, outside, inside = address(OPEN, closed), URL("https://open/x"), URL("https://closed/x")
    with pytest.raises(CkptError, match="x: the server redirects to closed, an address of the private network"):
        asyncio.run(web._require_same_network(loop, outside, inside, "x"))
    for before, place in ((outside, outside), (inside, outside), (inside, inside)):
        asyncio.run(web._require_same_network(loop, before, place, "x"))


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://host/y", "redirects to http://host/y, which is not followed"),
        ("file:///etc/passwd", "redirects to file:///etc/passwd, which is not followed"),
        ("//:1/", "but not to a valid URL"),
        ("", r"but not to a valid URL \(none is given\)"),
        ("http://me:secret@host/\x1b[31m?key=secret", r"redirects to http://host/\\x1b\[31m, which is not"),
    ],
)
def test_a_redirect_that_is_not_followed(location, says):
    with pytest.raises(CkptError, match=says) as caught:
        web._place_of(URL("https://host/x"), location, "x")
    assert "secret" not in str(caught.value)


def test_a_redirect_is_followed_to_where_it_leads():
    assert web._place_of(URL("http://host/a/x"), "../b/y", "x") == URL("http://host/b/y")
    assert web._place_of(URL("http://host/a/x"), "https://other/y", "x") == URL("https://other/y")


def test_a_server_that_is_late_each_time_is_given_up(monkeypatch):
    monkeypatch.setattr(server_errors, "SECONDS", 10)
    now = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    budget, given = patience.Patience(), []
    for _ in range(4):
        with budget.during(patience.SLOWEST) as seconds:
            given.append(seconds)
            now[0] += 6
    assert given == [12, 8, 4, 2]
    now[0] += 100
    with budget.during(0) as seconds:
        assert seconds == 11


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    return versions("x.safetensors", tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="module")
def liar() -> Iterator[Server]:
    with Server() as serving:
        yield serving
        serving.shutdown()


@pytest.mark.parametrize("lie", [*HONEST, *list(SERVER_LIES)[::4]])
@pytest.mark.parametrize("place", ["head", "later"])
def test_lies_of_all_kinds(liar, two_versions, lie, place, monkeypatch):
    monkeypatch.setattr(server_errors, "SECONDS", 0.3 if lie in SERVER_LIES else 20)
    monkeypatch.setattr(patience, "SLOWEST", 1 << 30)
    monkeypatch.setattr(patience, "EACH", 0.01)
    monkeypatch.setattr(patience, "_patience", {})  # of other tests
    trial = Trial(*two_versions, {**HONEST, **SERVER_LIES}[lie], place)
    url = f"{liar.put(trial)}/x.safetensors"
    wanted = [weights(number) for number in (1.0, 2.0)]
    try:
        found = {name: tensor.read() for name, tensor in checkpoint.open(url).items()}
    except CkptError as error:
        assert lie not in HONEST, error
        assert "\n" not in str(error)
    else:
        assert any(all(np.array_equal(each[name], found[name]) for name in found) for each in wanted)
        assert set(found) == set(wanted[0])
    finally:
        trial.over.set()
    assert trial.told or place == "later"
