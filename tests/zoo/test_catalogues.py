"""From one catalogue to another: a folder, or a bucket of moto's S3. Only what is missing there is brought."""

import json
from collections.abc import Iterator
from dataclasses import replace
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
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_push import zoo_push

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
        yield fsspec.filesystem("s3")
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where another catalogue is to be."""
    if request.param == "folder":
        return str(tmp_path / "shared")
    return bucket(request.getfixturevalue("s3"), request.node.name)


def bucket(s3: Any, name: str) -> str:
    own = f"b{abs(hash(name))}"
    s3.mkdir(own)
    return f"s3://{own}/zoo"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue and a cache with nothing in them."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own"


def weights(folder: Path, name: str, value: float) -> Path:
    checkpoint.save({"x": np.full((3, 2), value, np.float32)}, folder / name)
    return folder / name


def pulled(place: str, entry: str, root: Path, **options: Any) -> tuple[Manifest, list[str]]:
    notes: list[str] = []
    return zoo_pull(place, entry, root=root, talk=notes.append, **options), notes


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
    zoo_add(MODEL, "same", tmp_path / "other")
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
    with pytest.raises(MissingFile, match="is no catalogue"):
        pulled(place, "x", tmp_path / "other")
    with pytest.raises(CkptError, match=r"is taken for a catalogue: name one of its entries"):
        zoo_pull(place)
    with pytest.raises(CkptError, match=r"differs from the entry x in case alone"):
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
    with pytest.raises(CorruptCheckpoint, match="which is not one in its folder"):
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
    with pytest.raises(CkptError, match=r"holds thesis.txt and is no catalogue: name an empty folder"):
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
    with pytest.raises(CkptError, match=r"^s3://bucket/zoo is no folder: `ckpttool zoo pull s3://bucket/zoo N`"):
        zoo_add(path, "x", Path("s3://me:secret@bucket/zoo"))
    assert not Path("s3:").exists()
