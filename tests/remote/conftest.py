"""A local web server that records its requests and the number of bytes sent."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool.cli import main

WEIGHTS = {
    "first": np.arange(60_000, dtype=np.float32),
    "middle": np.arange(1000, dtype=np.float32).reshape(10, 100),
    "rest": np.arange(50_000, dtype=np.float64),
}
"""Tensors one of which is small, so that it shows if more than that one was downloaded."""


class Web(ThreadingHTTPServer):
    """Serves a folder; without `ranges` it ignores requests for parts; `status` is its answer to all.

    It is `busy` as often as that list has delays in seconds, redirects to what has `moved`, and fails `failing`, the
    numbers of requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tests = 0
        self.reset(Path())

    def reset(self, folder: Path) -> None:
        """Start again, with other URLs, so that downloads of one test are not used in the next."""
        self.tests += 1
        self.folder, self.ranges, self.status, self.cut, self.released = folder, True, 200, 0, threading.Event()
        self.released.set()
        self.given: dict[str, int] = {}
        self.busy: list[str] = []
        self.moved: dict[str, str] = {}
        self.asked, self.failing = 0, range(0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors when a client has disconnected, which it does after reading only the start of an answer."""

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.tests}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        piece = self._head()
        if piece:
            name = self._name()
            self.server.given[name] = self.server.given.get(name, 0) + len(piece)
            self.wfile.write(piece)

    def _head(self) -> bytes:
        self.server.released.wait()
        if self.server.busy:
            return self._nothing(429, "Retry-After", self.server.busy.pop())
        if place := self.server.moved.get(self._name()):
            return self._nothing(302, "Location", place)
        self.server.asked += 1
        if self.server.asked in self.server.failing:
            return self._nothing(503, "X-Why", "maintenance")
        file = self.server.folder / self._name().partition("?")[0]
        status = self.server.status if file.is_file() or self.server.status != 200 else 404
        if status != 200:
            self.send_error(status)
            return b""
        data, asked = file.read_bytes(), self.headers.get("Range")
        piece = data
        if asked and self.server.ranges:
            start, _, last = asked.removeprefix("bytes=").partition("-")
            piece = data[int(start) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(piece) - 1}/{len(data)}")
            piece = piece[: len(piece) - self.server.cut]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(piece)))
        self.send_header("ETag", f'"{hash(data)}"')
        self.end_headers()
        return piece

    def _nothing(self, status: int, name: str, value: str) -> bytes:
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return b""

    def _name(self) -> str:
        return self.path.partition("/")[2].partition("/")[2]

    def log_message(self, *arguments: Any) -> None:
        """Do not log."""


@pytest.fixture(scope="session")
def _server() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def web(_server: Web, tmp_path: Path) -> Web:
    """A web server for the test's own folder `served`."""
    (tmp_path / "served").mkdir()
    _server.reset(tmp_path / "served")
    return _server


@pytest.fixture(scope="session")
def weights() -> dict[str, np.ndarray]:
    return WEIGHTS


@pytest.fixture
def run():
    """Run a command in this process; a wrong exit code fails the test with the output."""

    def command(*arguments: str | Path, exit_code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == exit_code, result.stdout + result.stderr + repr(result.exception)
        return result.stdout + result.stderr

    return command
