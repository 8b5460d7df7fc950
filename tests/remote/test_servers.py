"""Files of servers through fsspec: one in memory for what they do, and stand-ins for what they might say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.remote import servers
from ckpttool.remote.servers import RemoteFile


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of its own on fsspec's server in memory, with a file in it and one below it."""
    import fsspec

    system, path = fsspec.filesystem("memory"), f"/{abs(hash(request.node.nodeid))}"
    system.pipe({f"{path}/a.npz": b"first", f"{path}/below/b.npz": b"second"})
    yield f"memory:/{path}"
    system.rm(path, recursive=True)


def test_a_file_has_a_size_and_one_that_is_not_there_has_none(folder):
    assert servers.metadata(f"{folder}/a.npz") == RemoteFile(5, None, None)
    assert servers.metadata(f"{folder}/c.npz") is None
    assert servers.metadata(f"{folder}/below") is None


def test_a_folder_lists_its_files_and_folders_and_what_lies_below(folder):
    file = RemoteFile(5, None, None)
    assert servers.listing(folder) == servers.listing(f"{folder}/") == {"a.npz": file, "below": None}
    assert servers.listing(f"{folder}/none") == servers.listing(f"{folder}/a.npz/none") == {}
    assert servers.beneath(folder) == {"a.npz": file, "below/b.npz": RemoteFile(6, None, None)}
    assert servers.beneath(f"{folder}/none") == {}


@pytest.mark.parametrize("ask", [servers.listing, servers.beneath])
def test_a_list_has_a_limit(folder, ask, monkeypatch):
    monkeypatch.setattr(servers, "MOST_LISTED", 2)
    assert len(ask(folder)) == 2
    monkeypatch.setattr(servers, "MOST_LISTED", 1)
    with pytest.raises(CorruptCheckpoint, match="the server lists over 1 files"):
        ask(folder)


def test_several_files_are_read_in_their_order(folder):
    urls = [f"{folder}/below/b.npz", f"{folder}/none", f"{folder}/a.npz"]
    assert servers.read_all(urls) == [b"second", None, b"first"]
    assert servers.read_all(urls[:1]) == [b"second"]
    assert servers.read_all([]) == []
    assert (servers.read(urls[0]), servers.read(urls[1])) == (b"second", None)


def test_a_file_is_created_once_and_replaced_by_what_is_written_or_uploaded(folder, tmp_path):
    url = f"{folder}/new"
    assert servers.created(url, b"one")
    assert not servers.created(url, b"two")
    assert servers.read(url) == b"one"
    servers.write(url, memoryview(b"three"))
    assert servers.read(url) == b"three"
    (tmp_path / "file").write_bytes(b"four")
    servers.upload(tmp_path / "file", url)
    assert servers.read(url) == b"four"


def test_a_download_begins_anywhere_and_is_not_shorter_than_the_file(folder, monkeypatch):
    monkeypatch.setattr(servers, "STEP", 2)
    pieces: list[tuple[int, bytes]] = []
    servers.download(f"{folder}/a.npz", 5, 1, lambda *piece: pieces.append(piece))
    assert pieces == [(1, b"ir"), (3, b"st")]
    servers.download(f"{folder}/a.npz", 3, 0, lambda *piece: pieces.append(piece))
    assert pieces[2:] == [(0, b"fi"), (2, b"r")]
    servers.download(f"{folder}/a.npz", 5, 5, lambda *piece: pieces.append(piece))
    assert len(pieces) == 4
    with pytest.raises(CorruptCheckpoint, match=r"a\.npz: the server gave 5 bytes, not 9"):
        servers.download(f"{folder}/a.npz", 9, 0, lambda *piece: None)


class System:
    """A stand-in that says what a test wants, and remembers what it was asked to forget."""

    def __init__(self, **said: Any) -> None:
        self.said, self.forgotten = said, list[Any]()

    def invalidate_cache(self, path: str | None = None) -> None:
        self.forgotten.append(path)

    def _say(self, name: str) -> Any:
        if isinstance(self.said[name], Exception):
            raise self.said[name]
        return self.said[name]

    def info(self, path: str) -> Any:
        return self._say("info")

    def ls(self, path: str, detail: bool) -> Any:
        return self._say("ls")

    def find(self, path: str, detail: bool) -> Any:
        return {info["name"]: info for info in self._say("ls")}

    def cat(self, paths: list[str], on_error: str) -> Any:
        return self._say("cat")

    def cat_file(self, path: str) -> bytes:
        return bytes(self._say("cat_file"))


def says(monkeypatch: pytest.MonkeyPatch, **said: Any) -> System:
    system = System(**said)
    monkeypatch.setattr(servers, "file_system", lambda url: (system, url.partition("://")[2]))
    return system


def missing(cause: Exception | None) -> FileNotFoundError:
    error = FileNotFoundError("x")
    error.__cause__ = cause
    return error


class Answer(Exception):
    """An error with the status of a server's answer."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status, self.message = status, "said so"


@pytest.mark.parametrize("cause", [None, FileNotFoundError("y"), Answer(404), Answer(410)], ids=repr)
def test_a_file_is_missing_if_the_server_says_so(monkeypatch, cause):
    says(monkeypatch, info=missing(cause))
    assert servers.metadata("s3://bucket/x") is None


@pytest.mark.parametrize(
    ("cause", "said"),
    [(Answer(500), "the server answers 500 said so"), (Answer(403), "refuses access"), (OSError("z"), "z")],
)
def test_a_file_that_cannot_be_asked_for_is_not_missing(monkeypatch, cause, said):
    says(monkeypatch, info=missing(cause))
    with pytest.raises(CkptError, match=rf"s3://bucket/x: .*{said}"):
        servers.metadata("s3://bucket/x")


FILE = {"name": "bucket/folder/x", "size": 3, "type": "file"}


def test_the_folder_itself_is_not_listed_in_it_and_what_was_listed_before_is_forgotten(monkeypatch):
    itself = {"name": "bucket/folder/", "size": 0, "type": "directory"}
    system = says(monkeypatch, ls=[itself, FILE, FILE | {"name": "bucket/folder/sub/", "type": "directory"}])
    assert servers.listing("s3://bucket/folder/") == {"x": RemoteFile(3, None, None), "sub": None}
    assert system.forgotten == ["bucket/folder/"]
    assert servers.beneath("s3://bucket/folder") == {"x": RemoteFile(3, None, None)}
    assert system.forgotten == ["bucket/folder/", None]
    for error in (FileNotFoundError(), NotADirectoryError()):
        says(monkeypatch, ls=error)
        assert servers.listing("s3://bucket/folder") == {}


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ({"ETag": "e", "md5Hash": "m"}, RemoteFile(3, "e", "ETag")),
        ({"ETag": "", "blob_id": 7}, RemoteFile(3, "7", "blob_id")),
        ({"size": servers.LARGEST}, RemoteFile(servers.LARGEST, None, None)),
        ({"size": 0}, RemoteFile(0, None, None)),
        ({"type": "directory"}, None),
    ],
)
def test_what_a_server_says_of_a_file(monkeypatch, said, file):
    says(monkeypatch, info=FILE | said)
    assert servers.metadata("s3://bucket/folder/x") == file


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"size": None}, "does not say how large the file is"),
        ({"size": -1}, "says that the file has -1 byte"),
        ({"size": servers.LARGEST + 1}, f"says that the file has {servers.LARGEST + 1} bytes"),
    ],
)
def test_a_size_that_cannot_be(monkeypatch, said, words):
    says(monkeypatch, info=FILE | said)
    with pytest.raises(CkptError, match=words):
        servers.metadata("s3://bucket/folder/x")


def test_an_error_for_one_of_several_files_is_not_a_missing_file(monkeypatch):
    says(monkeypatch, cat={"a": b"1", "b": FileNotFoundError()})
    assert servers.read_all(["s3://a", "s3://b"]) == [b"1", None]
    says(monkeypatch, cat={"a": b"1", "b": Answer(500)})
    with pytest.raises(CkptError, match="the server answers 500"):
        servers.read_all(["s3://a", "s3://b"])


def test_what_was_read_before_is_read_anew(monkeypatch):
    system = says(monkeypatch, cat_file=b"new")
    assert (servers.read("s3://bucket/x"), system.forgotten) == (b"new", [None])


def test_web_servers_list_nothing():
    assert [servers.lists(url) for url in ("s3://bucket", "https://host/x", "http://host/x")] == [True, False, False]


def test_only_web_servers_are_asked_not_to_compress():
    system, path = servers.file_system("https://host/x")
    assert (system.kwargs["headers"], path) == ({"Accept-Encoding": "identity"}, "https://host/x")
    assert system.client_kwargs["auto_decompress"] is False
    system, path = servers.file_system("memory://x")
    assert (system.storage_options, Path(path).name) == ({}, "x")
