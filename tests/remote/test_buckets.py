"""An S3 server that lies: pages and bodies without end, other ranges, other versions, single slow bytes."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import buckets, patience, server_errors, servers

pytest.importorskip("s3fs")
OLD, NEW = (save({"a": np.full(50_000, value), "b": np.full(50_000, value)}) for value in (1.0, 2.0))
FILE = "<Contents><Key>{}</Key><Size>{}</Size><ETag>&quot;1&quot;</ETag></Contents>"


class Handler(BaseHTTPRequestHandler):
    """Serves x.safetensors in a bucket, except what a test answers itself."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_HEAD(self) -> None:
        self.send(200, b"", len(OLD))

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if "list-type" in asked:
            prefix, token = asked.get("prefix", [""])[0], asked.get("continuation-token", ["0"])[0]
            self.server.pages += 1
            body = self.server.page(prefix, int(token)).encode()
            return self.send(200, b"<ListBucketResult>" + body + b"</ListBucketResult>")
        first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
        if first and self.server.answer:
            return self.server.answer(self, first, last + 1)
        return self.part(OLD, first, last + 1)

    def part(self, data: bytes, start: int, stop: int, mark: str = '"1"', given: int | None = None) -> None:
        given = start if given is None else given
        body = data[start:stop]
        self.send(206, body, mark=mark, **{"Content-Range": f"bytes {given}-{given + len(body) - 1}/{len(data)}"})

    def send(self, status: int, body: bytes, length: int | None = None, mark: str = '"1"', **more: str) -> None:
        self.send_response(status)
        fields = {"Content-Length": str(len(body) if length is None else length), "ETag": mark, **more}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Do not log."""


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.handle_error = True, lambda *_: None
    server.answer, server.page, server.pages, server.over = None, the_file, 0, threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for name, value in {
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing"),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of other tests' servers
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def the_file(prefix: str, _page: int) -> str:
    return FILE.format("x.safetensors", len(OLD)) if "x.safetensors".startswith(prefix) else ""


def with_next(page: Callable[[str, int], str]) -> Callable[[str, int], str]:
    """Return pages each of which has a next one."""
    token = "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>"
    return lambda prefix, number: page(prefix, number) + token.format(number + 1)


def read(server: Any) -> dict[str, set[float]]:
    opened = checkpoint.open(f"s3://held{server.server_port}/x.safetensors")  # its own bucket: what was read is kept
    return {name: set(np.unique(tensor.read())) for name, tensor in opened.items()}


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    servers.listing("s3://held")  # starting its library takes longer
    monkeypatch.setattr(server_errors, "SECONDS", 1.0)
    monkeypatch.setattr(servers, "PER_SECOND", 1_000_000)
    monkeypatch.setattr(patience, "EACH", 0.01)
    monkeypatch.setattr(patience, "SLOWEST", 1 << 30)


def test_the_truth_is_read(lying):
    assert read(lying) == {"a": {1.0}, "b": {1.0}}


def other_version(request, start, stop):
    request.part(NEW, start, stop, '"2"')


def other_range(request, start, stop):
    request.part(OLD, start, stop, given=start + 8)


def all_of_it(request, start, stop):
    request.send(200, OLD)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (other_version, r"held\d+/x\.safetensors changed while it was read: its ETag is another one"),
        (other_range, r"held\d+/x\.safetensors: the server gave bytes \d+-\d+/\d+, not bytes \d+-"),
        (all_of_it, r"held\d+/x\.safetensors: the server gave more than \d+ bytes"),
    ],
)
def test_another_answer_is_refused(lying, answer, said):
    lying.answer = answer
    with pytest.raises(CorruptCheckpoint, match=said):
        read(lying)


def drip(request, start, stop):
    request.send(206, b"", stop - start, **{"Content-Range": f"bytes {start}-{stop - 1}/{len(OLD)}"})
    while not request.server.over.wait(0.05):
        request.wfile.write(b"x")


@pytest.mark.parametrize("answer", [drip, lambda request, *_: request.server.over.wait(60)])
def test_single_bytes_and_silence_are_not_waited_for(lying, answer, monkeypatch):
    impatient(monkeypatch)
    lying.answer, begun = answer, time.monotonic()
    with pytest.raises(CkptError, match=r"held\d+/x\.safetensors: the server did not answer within 1\.0 seconds"):
        read(lying)
    assert time.monotonic() - begun < 5


def test_a_list_without_end_is_refused(lying, monkeypatch):
    impatient(monkeypatch)
    lying.page = with_next(lambda *_: "")
    with pytest.raises(CorruptCheckpoint, match=r"s3://held: the server's list of files has no end"):
        servers.listing("s3://held")
    lying.page, lying.pages = with_next(the_file), 0
    with pytest.raises(CorruptCheckpoint, match=r"s3://held: the server lists held/x\.safetensors twice"):
        servers.listing("s3://held")
    assert lying.pages == 2


def test_a_page_of_a_list_has_a_limit(lying, monkeypatch):
    monkeypatch.setattr(buckets, "LONGEST_PAGE", 1000)
    lying.page = lambda *_: " " * 1000
    with pytest.raises(CorruptCheckpoint, match=r"held: the server gave more than 1000 bytes"):
        servers.listing("s3://held")
