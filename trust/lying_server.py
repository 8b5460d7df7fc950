"""A web server that answers correctly, except for the requests of a trial that get its lie."""

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Files = Mapping[str, bytes]
MARKS = {"ETag": '"1"', "Last-Modified": "Sun, 29 Nov 2026 10:00:00 GMT"}
Headers = dict[str, str] | list[tuple[str, str]]


@dataclass
class Trial:
    """Files in two versions, and a lie in the answers to some requests; `told` counts these."""

    old: Files
    new: Files
    lie: "Callable[[Ask], None] | None" = None
    place: str = "all"
    marks: dict[str, str] = field(default_factory=lambda: dict(MARKS))
    told: int = 0
    gets: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def is_lied_to(self, method: str) -> bool:
        """Return whether a request gets the lie: those for metadata, those for bytes, all but the first two, or all."""
        if self.place in ("head", "get"):
            return method.lower() == self.place
        return self.place == "all" or (method == "GET" and self.gets > 2)


class Ask:
    """A request, and the methods that answer it."""

    def __init__(self, trial: Trial, method: str, name: str, asked: str | None, out: Any) -> None:
        """Store what is requested, of which file, and where to write answers."""
        self.trial, self.method, self.name, self.out = trial, method, name, out
        self.old, self.new = trial.old.get(name), trial.new.get(name)
        self.is_ranged = asked is not None
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        self.start, self.stop = int(first), int(last) + 1 if last else len(self.old or b"")

    @property
    def data(self) -> bytes:
        """The old version of the file."""
        return self.old or b""

    @property
    def part(self) -> bytes:
        """The requested part of it."""
        return self.data[self.start : self.stop] if self.is_ranged else self.data

    def raw(self, *pieces: bytes) -> None:
        """Write bytes unchanged."""
        for piece in pieces:
            self.out.write(piece)
        self.out.flush()

    def head(self, status: str, headers: Headers) -> None:
        """Write a status line and headers."""
        lines = headers.items() if isinstance(headers, dict) else headers
        text = "".join(f"{name}: {value}\r\n" for name, value in lines)
        self.raw(f"HTTP/1.1 {status}\r\n{text}Connection: close\r\n\r\n".encode("utf-8", "surrogateescape"))

    def send(self, status: str, headers: Headers, body: bytes = b"", length: int | None = None) -> None:
        """Write a complete answer."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        self.head(status, [*pairs, ("Content-Length", str(len(body) if length is None else length))])
        if self.method != "HEAD":
            self.raw(body)

    def range(self, total: int | None = None) -> str:
        """Return the Content-Range of the request."""
        return f"bytes {self.start}-{self.stop - 1}/{len(self.data) if total is None else total}"

    def honest(self, marks: Mapping[str, str] | None = None, data: bytes | None = None, **more: str) -> None:
        """Answer correctly, or with other headers or data; an empty header is omitted."""
        marks = self.trial.marks if marks is None else marks
        data = self.data if data is None else data
        more = {name.replace("_", "-"): value for name, value in more.items()}
        if self.old is None:
            self.send("404 Not Found", {})
        elif self.is_ranged and self.method != "HEAD":
            stop = min(self.stop, len(data))
            headers = {**marks, "Content-Range": f"bytes {self.start}-{stop - 1}/{len(data)}", **more}
            self.send("206 Partial Content", {k: v for k, v in headers.items() if v}, data[self.start : stop])
        else:
            self.send("200 OK", {k: v for k, v in {**marks, **more}.items() if v}, data)

    def wait(self, seconds: float) -> bool:
        """Wait; return whether the trial is over."""
        return self.trial.over.wait(seconds)


class Server(socketserver.ThreadingTCPServer):
    """Serves trials, each under its own number."""

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        """Listen on a local port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.trials: dict[str, Trial] = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def put(self, trial: Trial) -> str:
        """Serve a trial; return the URL of its folder."""
        number = str(len(self.trials))
        self.trials[number] = trial
        return f"http://127.0.0.1:{self.server_address[1]}/{number}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: clients are expected to disconnect."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            line = self.rfile.readline(1 << 16).decode("latin1")
            headers = dict(_headers(self.rfile))
            method, path, _ = line.split(" ", 2)
            _, number, name = path.partition("?")[0].split("/", 2)
            trial = self.server.trials[number]  # type: ignore[attr-defined]
            trial.gets += method == "GET"
            ask = Ask(trial, method, name, headers.get("range"), self.wfile)
            if trial.lie and ask.old is not None and trial.is_lied_to(method):
                trial.told += 1
                trial.lie(ask)
            else:
                ask.honest()


def _headers(file: Any) -> Iterator[tuple[str, str]]:
    while (line := file.readline(1 << 16).decode("latin1").strip()) != "":
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()
