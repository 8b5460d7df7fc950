"""A local hub that answers huggingface_hub's requests, lies on demand, and counts."""

import base64
import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = 2000
"""The minimal size of files that are stored by SHA-256, as by Git LFS."""

TOKEN = "hf_a_secret_token"
"""The token of the hub's user."""


class HubServer(ThreadingHTTPServer):
    """Repositories as files by name; every commit is a new one. Switches make it a faulty hub."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reset()

    def reset(self) -> None:
        """Clear everything."""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.uploaded: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.seen: list[str] = []
        self.says: dict[str, dict[str, Any]] = {}
        self.gives: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.busy: list[dict[str, str]] = []
        self.breaks, self.leads_to, self.status = dict[str, int](), "", 200
        self.refuses, self.full = 0, False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors when a client has disconnected."""

    def commit(self, name: str) -> str:
        files = self.repositories[name]
        return hashlib.sha1(repr(sorted((key, files[key]) for key in files)).encode()).hexdigest()

    def listing(self, name: str) -> list[dict[str, Any]]:
        return [{**listed(file, data), **self.says.get(file, {})} for file, data in self.repositories[name].items()]


def listed(name: str, data: bytes) -> dict[str, Any]:
    """Return a hub's description of a file."""
    row = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
    lfs = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 100}
    return {**row, "lfs": lfs} if len(data) >= LARGE else row


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.note(path)
        if self.server.busy:
            return self.send(429, b"", **self.server.busy.pop())
        if self.server.status != 200:
            return self.send(self.server.status, b"")
        if path.startswith("/api/models/"):
            return self.send_listing(*path.removeprefix("/api/models/").partition("/revision/")[::2])
        if path.startswith("/cdn/"):
            return self.send_file(*path.removeprefix("/cdn/").partition("/file/")[::2], body)
        return self.send_resolved(path, body)

    def send_resolved(self, path: str, body: bool) -> None:
        repository, _, rest = path[1:].partition("/resolve/")
        file = rest.partition("/")[2]
        data = self.server.repositories.get(repository, {}).get(file)
        if data is None:
            return self.send(404, b"", X_Error_Code="EntryNotFound")
        if self.server.leads_to and len(data) >= LARGE:
            tag = f'"{hashlib.sha256(data).hexdigest()}"'
            return self.send(
                302,
                b"",
                Location=f"{self.server.leads_to}/cdn/{repository}/file/{file}?Signature=secret",
                X_Repo_Commit=self.server.commit(repository),
                X_Linked_Etag=tag,
                X_Linked_Size=str(len(data)),
            )
        return self.send_file(repository, file, body)

    def send_listing(self, repository: str, revision: str) -> None:
        if repository not in self.server.repositories:
            return self.send(404, b"", X_Error_Code="RepoNotFound")
        commit = self.server.commit(repository)
        if revision not in ("", "main", "v1", commit):
            return self.send(404, b"", X_Error_Code="RevisionNotFound")
        document = {"id": repository, "sha": commit, "siblings": self.server.listing(repository)}
        return self.send(200, json.dumps(document | self.server.says.get(repository, {})).encode())

    def send_file(self, repository: str, file: str, body: bool) -> None:
        data = self.server.repositories[repository][file]
        tag = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else git_hash(data)
        tag, data = self.server.tags.get(file, tag), self.server.gives.get(file, data)
        start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0]) if self.headers["Range"] else 0
        part = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", self.server.commit(repository))
        self.end_headers()
        if body:
            cut = self.server.breaks.get(file, 0)
            self.server.breaks[file] = 0
            self.wfile.write(part[: len(part) - cut])
            self.close_connection = bool(cut)

    def do_POST(self) -> None:
        path, data = self.path.partition("?")[0], self.body()
        self.note(path)
        if "/commit/" in path:
            return self.take_commit(path.removeprefix("/api/models/").partition("/commit/")[0], data)
        return self.send(
            *((self.server.refuses, b'{"error": "no"}') if self.server.refuses else self.posted(path, data))
        )

    def posted(self, path: str, data: bytes) -> tuple[int, bytes]:
        if path == "/api/repos/create":
            said = json.loads(data)
            name = f"{said['organization']}/{said['name']}" if said.get("organization") else said["name"]
            is_new = name not in self.server.repositories
            self.server.repositories.setdefault(name, {})
            if is_new:
                self.server.private[name] = said.get("private") or said.get("visibility") == "private"
            return 200 if is_new else 409, json.dumps({"url": f"{self.server.url}/{name}"}).encode()
        if path == "/api/validate-yaml":
            return 200, b"{}"
        if "/preupload/" in path:
            rows = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(data)["files"]
            ]
            return 200, json.dumps({"files": rows}).encode()
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}", "header": {}}}}
                for each in json.loads(data)["objects"]
            ]
            return 200, json.dumps({"transfer": "basic", "objects": objects}).encode()
        return 404, b""

    def do_PUT(self) -> None:
        data = self.body()
        self.note(self.path)
        if self.server.full:
            return self.send(507, b"")
        self.server.uploaded[hashlib.sha256(data).hexdigest()] = data
        return self.send(200, b"")

    def take_commit(self, repository: str, data: bytes) -> None:
        files = self.server.repositories[repository]
        for line in filter(None, data.split(b"\n")):
            row = json.loads(line)
            if row["key"] == "file":
                files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            elif row["key"] == "lfsFile":
                files[row["value"]["path"]] = self.server.uploaded[row["value"]["oid"]]
        commit = self.server.commit(repository)
        answer = {"commitUrl": f"{self.server.url}/{repository}/commit/{commit}", "commitOid": commit}
        self.send(200, json.dumps(answer).encode())

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def note(self, path: str) -> None:
        self.server.asked[f"{self.command} {path.rpartition('/')[2]}"] += 1
        if token := self.headers.get("Authorization"):
            self.server.seen.append(f"{path} {token}")

    def send(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Do not log."""


def running() -> HubServer:
    """Return a server that answers in its own thread."""
    server = HubServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server
