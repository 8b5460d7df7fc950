"""From one catalogue to another: a folder, or a bucket of moto's S3. Only missing files are copied."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.served import ServedCatalogue
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile, UnknownName
from ckpttool.remote import servers
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_history import zoo_history
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_push import zoo_push
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_show import zoo_show
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify

MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(key, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # of other tests' servers
        yield fsspec.filesystem("s3")
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The place of another catalogue."""
    if request.param == "folder":
        return str(tmp_path / "shared")
    return bucket(request.getfixturevalue("s3"), request.node.name)


def bucket(s3: Any, name: str) -> str:
    own = f"b{abs(hash(name))}"
    s3.mkdir(own)
    return f"s3://{own}/zoo"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty catalogue and cache."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own"


def weights(folder: Path, name: str, value: float) -> Path:
    checkpoint.save({"x": np.full((3, 2), value, np.float32)}, folder / name)
    return folder / name


def pulled(place: str, entry: str, root: Path, **options: Any) -> tuple[Manifest, list[str]]:
    notes: list[str] = []
    return zoo_pull(place, entry=entry, root=root, talk=notes.append, **options), notes


def test_an_entry_goes_there_and_comes_from_there(place: str, own: Path, tmp_path: Path) -> None:
    added = zoo_add(MODEL, "digits", licence="mit", metrics=["accuracy=0.97"])
    pushed = zoo_push("digits", place)
    assert (pushed.revision, pushed.files) == ("digits@1", len(added.files))
    came, notes = pulled(place, "digits", tmp_path / "other", tags=["best"])
    assert came.as_json() == {**added.as_json(), "source": {"url": "own", "revision": "digits@1"}}
    assert notes == [f"{len(added.files)} of {len(added.files)} files had to be fetched"]
    assert str(tmp_path) not in json.dumps(came.as_json())
    other = Catalogue.open(tmp_path / "other")
    assert other.tags("digits") == {"best": 1}
    for file in added.files:
        there = other.by_name("digits", 1) / file.path
        assert there.read_bytes() == (MODEL.parent / file.path).read_bytes()


def test_only_what_is_missing_is_brought(place: str, own: Path, tmp_path: Path) -> None:
    zoo_add(MODEL, "digits")
    zoo_push("digits", place)
    assert zoo_push("digits", place).as_json() | {"target": ""} == {
        "entry": "digits@1", "target": "", "revision": "digits@1", "files": 0,
    }  # fmt: skip
    assert zoo_push("digits", place, name="copy").files == 0
    zoo_add(MODEL, "same", root=tmp_path / "other")
    came, notes = pulled(place, "copy", tmp_path / "other", name="mine")
    assert (str(came), notes[0][:4]) == ("mine@1", "0 of")


def test_revisions_and_tags_are_those_of_where_they_are(place: str, own: Path, tmp_path: Path) -> None:
    zoo_add(weights(tmp_path, "a.npz", 1), "x", tags=["good"])
    zoo_add(weights(tmp_path, "b.npz", 2), "x")
    assert zoo_push("x@2", place).revision == "x@1"
    assert zoo_push("x:good", place).revision == "x@2"
    came, _ = pulled(place, "x@1", tmp_path / "other")
    assert came.main == "b.npz"
    with pytest.raises(UnknownName, match="x@3: a revision that x has not; it has 1, 2"):
        pulled(place, "x@3", tmp_path / "other")
    with pytest.raises(UnknownName, match=r"has no entry y"):
        pulled(place, "y", tmp_path / "other")
    assert Catalogue.open(tmp_path / "other").names() == ["x"]


def test_what_is_no_catalogue_is_said(place: str, own: Path, tmp_path: Path) -> None:
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    with pytest.raises(MissingFile, match="is not a catalogue"):
        pulled(place, "x", tmp_path / "other")
    with pytest.raises(CkptError, match=r"is taken for a catalogue: .* N`; a model is hf://"):
        zoo_pull(place)
    with pytest.raises(CkptError, match=r"differs from the entry x only in case"):
        zoo_push("x", place)
        zoo_push("x", place, name="X")


def blob_on(s3: Any, url: str, manifest: Manifest) -> str:
    (file,) = manifest.files
    return f"{url}/blobs/sha256/{file.sha256[:2]}/{file.sha256}"


@pytest.mark.parametrize("damage", ["other", "shorter", "missing"])
def test_other_bytes_leave_nothing(s3: Any, own: Path, tmp_path: Path, damage: str) -> None:
    url = bucket(s3, f"damage {damage}")
    added = zoo_add(weights(tmp_path, "a.npz", 1), "digits")
    zoo_push("digits", url)
    blob = blob_on(s3, url, added)
    data = s3.cat_file(blob)
    if damage == "missing":
        s3.rm(blob)
    else:
        s3.pipe_file(blob, data[:-1] + (b"?" if damage == "other" else b""))
    with pytest.raises(CorruptCheckpoint, match="has the SHA-256" if damage == "other" else "bytes are missing"):
        pulled(url, "digits", tmp_path / "other")
    root = tmp_path / "other"
    assert Catalogue.open(root).names() == []
    assert [*root.glob("blobs/*/*/*"), *(root / "tmp").iterdir()] == []
    assert zoo_push("digits", url).files == (0 if damage == "other" else 1)


def test_a_pull_that_is_interrupted_goes_on(
    s3: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket(s3, "interrupted")
    (file,) = zoo_add(weights(tmp_path, "a.npz", 1), "digits").files
    zoo_push("digits", url)
    download, asked = servers.download, list[int]()

    def broken(url: str, size: int, at: int, take: Any) -> None:
        asked.append(at)
        download(url, 100, at, take)
        raise KeyboardInterrupt

    monkeypatch.setattr(servers, "download", broken)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pulled(url, "digits", tmp_path / "other")
    assert asked == [0, 100]
    assert [*(tmp_path / "other").glob("blobs/*/*/*"), *(tmp_path / "other" / "tmp").iterdir()] == []
    monkeypatch.setattr(servers, "download", download)
    assert pulled(url, "digits", tmp_path / "other")[0].files == (file,)


def test_of_two_who_push_at_once_each_gets_a_number(
    s3: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket(s3, "race")
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    zoo_push("x", url)
    zoo_add(weights(tmp_path, "b.npz", 2), "x")
    last_number, answers = ServedCatalogue.last_number, [0]
    monkeypatch.setattr(
        ServedCatalogue, "last_number", lambda self, name: answers.pop() if answers else last_number(self, name)
    )
    assert zoo_push("x", url).revision == "x@2"
    assert pulled(url, "x@1", tmp_path / "other")[0].main == "a.npz"


def test_a_hostile_catalogue_is_refused(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "hostile")
    added = zoo_add(weights(tmp_path, "a.npz", 1), "x")
    zoo_push("x", url)
    path = f"{url}/manifests/x/000001.json"
    text = s3.cat_file(path)
    moved = replace(added, files=tuple(replace(file, path="../../out") for file in added.files))
    s3.pipe_file(path, moved.dumps())
    with pytest.raises(CorruptCheckpoint, match="which is not inside its folder"):
        pulled(url, "x", tmp_path / "other")
    s3.pipe_file(path, text[:-40])
    with pytest.raises(CorruptCheckpoint, match="the manifest of x@1 is damaged"):
        pulled(url, "x", tmp_path / "other")
    s3.pipe_file(f"{url}/zoo.json", b'{"format": 99}')
    with pytest.raises((FormatError, CkptError), match=rf"{url}"):
        pulled(url, "x", tmp_path / "other")
    assert Catalogue.open(tmp_path / "other").names() == []


def test_a_bucket_with_something_else_is_left_alone(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "else")
    s3.pipe_file(f"{url}/thesis.txt", b"x")
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    with pytest.raises(CkptError, match=r"contains thesis.txt and is not a catalogue: specify an empty folder"):
        zoo_push("x", url)


def test_a_damaged_entry_is_not_pushed(s3: Any, own: Path, tmp_path: Path) -> None:
    (file,) = zoo_add(weights(tmp_path, "a.npz", 1), "x").files
    blob = Catalogue.open(own).blob(file.sha256)
    blob.chmod(0o644)
    blob.write_bytes(b"?" * file.nbytes)
    with pytest.raises(CorruptCheckpoint, match=r"a.npz of x@1 has the SHA-256"):
        zoo_push("x", bucket(s3, "damaged"))


def test_a_catalogue_is_shown_without_the_password_of_its_url() -> None:
    assert str(ServedCatalogue(Path("s3://me:secret@bucket/zoo"))) == "s3://bucket/zoo"


def test_a_url_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = weights(tmp_path, "a.npz", 1)
    with pytest.raises(CkptError, match=r"^s3://bucket/zoo is on a server, .* pull s3://bucket/zoo N` copies"):
        zoo_add(path, "x", root=Path("s3://me:secret@bucket/zoo"))
    assert not Path("s3:").exists()


def test_a_catalogue_on_a_server_is_looked_at(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "looked at")
    for value in (1, 2):
        zoo_add(weights(tmp_path, f"{value}.npz", value), "x", licence="mit", metrics=[f"accuracy=0.{value}"])
        zoo_push("x", url)
    zoo_add(MODEL, "digits", tags=["image"])
    zoo_push("digits", url)
    pulled(url, "x", tmp_path / "elsewhere")
    place = Path(url)
    local = [{**row, "named": []} for row in zoo_list(sort=["parameters"])]
    assert [{**row, "named": []} for row in zoo_list(root=place, sort=["parameters"])] == local
    assert [row["name"] for row in zoo_list(filters=["accuracy>0.1"], every=True, root=place)] == ["x"]
    shown = zoo_show("x@1", place).manifest
    assert replace(shown, source=None) == zoo_show("x@1").manifest
    assert [row["changed"] for row in zoo_history("x", place)] == [["x"], None]
    with pytest.raises(UnknownName, match=rf"^{url} has no entry digit; nearest: digits"):
        zoo_show("digit", place)


def test_what_is_looked_at_is_what_is_there_now(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "now")
    place = Path(url)
    for name in ("a", "b"):
        zoo_add(weights(tmp_path, f"{name}.npz", ord(name)), name)
        zoo_push(name, url)
    assert [row["name"] for row in zoo_list(root=place)] == ["a", "b"]
    s3.rm(f"{url}/manifests/a/000001.json")
    s3.pipe_file(f"{url}/manifests/b/best.tag", b"1\n")
    assert [(row["name"], row["named"]) for row in zoo_list(root=place)] == [("b", ["best"])]
    assert zoo_show("b:best", place).as_json()["named"] == ["best"]
    s3.pipe_file(f"{url}/manifests/b/best.tag", b"7\n")
    assert zoo_list(root=place)[0]["named"] == []
    text = s3.cat_file(f"{url}/manifests/b/000001.json")
    s3.pipe_file(f"{url}/manifests/b/000001.json", text[:-1] + b"?")  # of the same size
    assert "damaged" in zoo_list(root=place)[0]["problem"]
    s3.pipe_file(f"{url}/manifests/b/000001.json", text)
    assert zoo_show("b", place).manifest.main == "b.npz"
    (kept,) = (tmp_path / "cache").rglob("000001.json")
    kept.write_bytes(text[:10])
    assert zoo_show("b", place).manifest.main == "b.npz"


def test_what_is_fetched_once_is_not_fetched_again(
    s3: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, read_all, asked = bucket(s3, "once"), servers.read_all, list[int]()

    def counted(urls: Any) -> Any:
        asked.append(len(urls))
        return read_all(urls)

    monkeypatch.setattr(servers, "read_all", counted)
    for value in (1, 2):
        zoo_add(weights(tmp_path, f"{value}.npz", value), "x")
        zoo_push("x", url)
        for _ in range(2):
            assert len(zoo_list(root=Path(url), every=True)) == value
    assert asked == [1, 1]


def test_names_on_a_server_lead_nowhere(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "names")
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    zoo_push("x", url)
    text = s3.cat_file(f"{url}/manifests/x/000001.json")
    outside = [
        "../000001.json",
        "..%2f/000001.json",
        "x/y/000001.json",
        "x/..",
        "x/evil.sh",
        ".x/000001.json",
        "x/-.tag",
    ]
    for name in outside:
        s3.pipe_file(f"{url}/manifests/{name}", text)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert [row["name"] for row in zoo_list(root=Path(url))] == ["x"]
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    cached = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert cached <= {"000001.json", "zoo.json", "marks.json", "index.sqlite"}


def test_a_catalogue_on_a_server_is_not_changed_in_place(s3: Any, own: Path, tmp_path: Path) -> None:
    url = bucket(s3, "changed")
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    zoo_push("x", url)
    before, place = s3.find(url), Path(url)
    for work in (
        lambda: zoo_add(tmp_path / "a.npz", "y", root=place),
        lambda: zoo_tag("x", ["best"], root=place),
        lambda: zoo_move("x", "y", place),
        lambda: zoo_remove("x", place),
        lambda: zoo_gc(root=place),
        lambda: zoo_compact(place),
        lambda: zoo_verify(root=place),
        lambda: zoo_push("x", str(tmp_path / "other"), root=place),
        lambda: zoo_pull(url, entry="x", root=place),
    ):
        with pytest.raises(CkptError, match=rf"^{url} is on a server, .* `ckpttool zoo pull {url} N`"):
            work()
    assert s3.find(url) == before


def test_the_users_own_catalogue_may_be_on_a_server(
    s3: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket(s3, "mine")
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    zoo_push("x", url)
    monkeypatch.setenv("CKPTTOOL_ZOO", url)
    assert [row["name"] for row in zoo_list()] == ["x"]
    with pytest.raises(CkptError, match=rf"^{url} is on a server, .* copies one to a catalogue in a folder"):
        checkpoint.open("zoo:x")


def test_a_url_of_a_folder_is_the_folder(own: Path, tmp_path: Path) -> None:
    zoo_add(weights(tmp_path, "a.npz", 1), "x")
    url = f"file://{tmp_path}/shared"
    assert zoo_push("x", url).revision == "x@1"
    assert [row["name"] for row in zoo_list(root=Path(url))] == ["x"]
    assert zoo_tag("x", ["best"], root=Path(url)) == {"best": 1}
    assert pulled(url, "x:best", tmp_path / "other")[0].main == "a.npz"
    assert Catalogue.open(tmp_path / "shared").names() == ["x"]


@pytest.mark.parametrize("url", ["https://host/zoo", "http://127.0.0.1:1/zoo"])
def test_a_web_server_is_no_catalogue(url: str) -> None:
    for work in (lambda: zoo_list(root=Path(url)), lambda: zoo_show("x", Path(url))):
        with pytest.raises(CkptError, match=rf"^{url} is not a catalogue: its server lists no folders"):
            work()


def test_a_server_that_lists_without_end_is_not_believed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [0]

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[0] += 1
            rows = "".join(
                f"<Contents><Key>zoo/manifests/x/{asked[0]:04d}{number:04d}.json</Key><Size>9</Size></Contents>"
                for number in range(1000)
            )
            more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{asked[0]}</NextContinuationToken>"
            text = f"<ListBucketResult><Name>b</Name>{more}{rows}</ListBucketResult>".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(servers, "MOST_LISTED", 3000)
    type(s3).clear_instance_cache()  # which know where the other server is
    for ask in (servers.listing, servers.beneath):
        asked[0] = 0
        with pytest.raises(CkptError, match="the server lists over 3000 files"):
            ask("s3://bucket/zoo/manifests")
        assert 3 < asked[0] < 8
    server.shutdown()
    server.server_close()
    type(s3).clear_instance_cache()
