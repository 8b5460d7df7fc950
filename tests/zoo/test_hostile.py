"""Hostile names, manifests and catalogues: nothing outside is read or written, and each is rejected with one line."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError
from ckpttool.formats.wire import checked_json
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_history import zoo_history
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_show import zoo_show
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify

Weights = Callable[..., Path]
NAMES = [
    *(
        "../x",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        ".x",
        "-x",
        "--all",
        "a\0b",
        "a\nb",
        "a b",
        "ä",
        "a" * 300,
    ),
    *("x@../../y", "x:../y", "x@9" + "9" * 30, "x@1@1", "con/../x", "\u202ex", "~root", "$HOME", "x/../../outside"),
]
LONG = "/".join(["a" * 200] * 6)
PATHS = [
    *(
        "../outside/f",
        "/etc/passwd",
        "a/../../outside",
        "a\\..\\b",
        "C:\\x",
        "c:x",
        "",
        ".",
        "..",
        "a//b",
        "a/",
        "./a",
        "a/./b",
    ),
    *("a\0b", "a\nb", "\x1b[31m", "\u202ea", "a" * 300, LONG, ".manifest.json", ".Manifest.JSON", "\ud800"),
]
CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"path {path[:12]!r}": lambda own, path=path: own["files"][0].update(path=path) for path in PATHS},  # type: ignore[misc]
    "a hash to outside": lambda own: own["files"][0].update(sha256="../../../../outside/file"),
    "a hash in capitals": lambda own: own["files"][0].update(sha256="AB" * 32),
    "half a hash": lambda own: own["files"][0].update(sha256="ab" * 16),
    "a number for a hash": lambda own: own["files"][0].update(sha256=7),
    "fewer bytes than none": lambda own: own["files"][0].update(bytes=-1),
    "other bytes": lambda own: own["files"][0].update(bytes=10**15),
    "more bytes than any disk": lambda own: own["files"][0].update(bytes=10**30),
    "a thousand digits of bytes": lambda own: own["files"][0].update(bytes=10**1000),
    "over 100,000 files": lambda own: own["files"].extend(
        {**own["files"][0], "path": f"{number}"} for number in range(100_001)
    ),
    "a revision of a thousand digits": lambda own: own.update(revision=10**1000),
    "more parameters than there are": lambda own: own.update(parameters=10**400),
    "fewer parameters than none": lambda own: own.update(parameters=-1),
    "a tensor without a name": lambda own: own["tensors"][0].pop("name"),
    "a tensor without a hash": lambda own: own["tensors"][0].pop("sha256"),
    "a tensor with half a hash": lambda own: own["tensors"][0].update(sha256="ab"),
    "a tensor of a shape that is a text": lambda own: own["tensors"][0].update(shape="3x2"),
    "a tensor that is endless": lambda own: own["tensors"][0].update(shape=[10**400]),
    "a layer without a name": lambda own: own["layers"].append({"kind": "Dense"}),
    "a layer of endless parameters": lambda own: own["layers"].append({"name": "x", "parameters": 10**400}),
    "a metric that is a text": lambda own: own["card"].update(metrics=[{"name": "a", "value": "high"}]),
    "a metric that is endless": lambda own: own["card"].update(metrics=[{"name": "a", "value": 10**400}]),
    "a metric that is not a number": lambda own: own["card"].update(metrics=[{"name": "a", "value": float("nan")}]),
    "a metric without a value": lambda own: own["card"].update(metrics=[{"name": "a"}]),
    "a metric without a name": lambda own: own["card"].update(metrics=[{"value": 1}]),
    "tags that are objects": lambda own: own["card"].update(tags=[{"a": 1}]),
    "a licence that is a list": lambda own: own["card"].update(license=["mit"]),
    "classes that are numbers": lambda own: own.update(classes=[1, 2]),
    "bytes that are a text": lambda own: own["files"][0].update(bytes="7"),
    "bytes that are true": lambda own: own["files"][0].update(bytes=True),
    "a main outside": lambda own: own.update(main="../../../outside"),
    "an absolute main": lambda own: own.update(main="/etc/passwd"),
    "no files": lambda own: own.update(files=[]),
    "files that are none": lambda own: own.update(files=["a"]),
    "one path twice": lambda own: own["files"].append(own["files"][0]),
    "one path in two cases": lambda own: own["files"].append(
        {**own["files"][0], "path": own["files"][0]["path"].upper()}
    ),
    "a file below a file": lambda own: own["files"].append({**own["files"][0], "path": "a.npz/b"}),
    "another revision": lambda own: own.update(revision=2),
    "a name outside": lambda own: own.update(name="../../outside"),
    "an unknown family": lambda own: own.update(family="pickle"),
    "a newer format": lambda own: own.update(format=2),
    "a supported format a text": lambda own: own.update(format="1"),
    "tensors that are none": lambda own: own.update(tensors={"x": 1}),
    "a card that is none": lambda own: own.update(card="mit"),
}
LINKS = [
    "blobs",
    "blobs/sha256",
    "blob's folder",
    "blob",
    "manifests",
    "manifests/x",
    "manifest",
    "tmp",
    "by-name",
    "by-name/x",
]
LINKS += ["by-name/x/1", "file", "kept", "zoo.json", "condemned"]


class Watched:
    """The files in a folder that anything has opened, or tried to make through SQLite or the system."""

    def __init__(self) -> None:
        self.folder, self.seen = "", list[str]()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        watched = event in {"open", "sqlite3.connect", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}
        if self.folder and watched and any(self.folder in str(each) for each in arguments[:2]):
            self.seen.append(f"{event} {arguments[:2]}")


WATCHED = Watched()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that must not be touched."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("secret")
    WATCHED.folder, WATCHED.seen = str(folder), []
    yield folder
    WATCHED.folder = ""
    assert WATCHED.seen == []
    assert {each.name: each.read_text() for each in folder.iterdir() if each.name == "file"} == {"file": "secret"}


def refused(*works: Callable[[], object]) -> None:
    for work in works:
        with pytest.raises(CkptError) as error:
            work()
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1500


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_refused_by_every_command(own: Path, weights: Weights, name: str) -> None:
    path = weights("a.npz", x=1)
    zoo_add(path, "x")
    before = sorted(own.rglob("*"))
    refused(
        lambda: zoo_add(path, name),
        lambda: zoo_add(path, "x", tags=[name]),
        lambda: zoo_show(name),
        lambda: zoo_history(name),
        lambda: zoo_tag(name, ["t"]),
        lambda: zoo_tag("x", [name]),
        lambda: zoo_move(name, "y"),
        lambda: zoo_move("x", name),
        lambda: zoo_remove(name),
        lambda: zoo_verify(name),
        lambda: checkpoint.open(f"zoo:{name}"),
    )
    assert sorted(own.rglob("*")) == before


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("what", CHANGES)
def test_a_hostile_manifest_is_refused_wherever_it_is_read(own: Path, weights: Weights, what: str) -> None:
    manifest = zoo_add(weights("a.npz", x=1), "x")
    document = manifest.as_json()
    CHANGES[what](document)
    path = own / "manifests/x/000001.json"
    path.unlink()
    path.write_bytes(checked_json.dumps(document))
    refused(lambda: checkpoint.open("zoo:x"))
    assert len(zoo_list()) == 1
    assert len(zoo_verify().problems) == 1
    zoo_remove("x@1")
    assert zoo_list() == []


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"[1," * 1_000_001])
def test_what_is_no_manifest_is_said(own: Path, weights: Weights, text: bytes) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    path = own / "manifests/x/000001.json"
    path.unlink()
    path.write_bytes(text)
    with pytest.raises(CkptError, match="the manifest of x@1 is damaged"):
        checkpoint.open("zoo:x")
    with pytest.raises(CkptError, match="nothing is removed"):
        zoo_gc()


def place_of(own: Path, what: str, manifest: Manifest) -> Path:
    (file,) = manifest.files
    blob = Catalogue.open(own).blob(file.sha256)
    places = {"blob": blob, "blob's folder": blob.parent, "manifest": own / "manifests/x/000001.json"}
    places |= {"file": own / "by-name/x/1" / file.path, "kept": own / "by-name/x/1/.manifest.json"}
    return places.get(what, own / what)


@pytest.mark.parametrize("what", LINKS)
def test_a_link_in_a_catalogue_is_not_followed(own: Path, weights: Weights, outside: Path, what: str) -> None:
    manifest = zoo_add(weights("a.npz", x=1), "x")
    place = place_of(own, what, manifest)
    is_folder = place.is_dir()
    place.rename(own.parent / "aside") if place.exists() else None
    if what not in ("by-name", "by-name/x", "by-name/x/1", "file", "kept"):
        for path in (own / "by-name").rglob("a.npz"):
            path.unlink()
    target = outside if is_folder or what == "condemned" else outside / "file"
    place.symlink_to(target)
    for work in (lambda: checkpoint.open("zoo:x"), zoo_list, zoo_verify, zoo_gc, lambda: zoo_remove("x")):
        try:
            work()
        except CkptError as error:
            assert "\n" not in str(error)
    assert [each.name for each in outside.iterdir()] == ["file"]


@pytest.mark.usefixtures("outside")
def test_a_blob_that_is_a_pipe_is_not_waited_for(own: Path, weights: Weights) -> None:
    (file,) = zoo_add(weights("a.npz", x=1), "x").files
    (own / "by-name/x/1/a.npz").unlink()
    blob = Catalogue.open(own).blob(file.sha256)
    blob.unlink()
    os.mkfifo(blob)
    refused(lambda: checkpoint.open("zoo:x"))
    assert len(zoo_verify().problems) == 1


def test_an_index_that_is_a_link_is_neither_read_nor_written(own: Path, weights: Weights, outside: Path) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    (own / "index.sqlite").symlink_to(outside / "file")
    assert len(zoo_list()) == 1
    (own / "index.sqlite").unlink()
    (own / "index.sqlite").symlink_to(outside / "new")
    assert len(zoo_list()) == 1
    assert [each.name for each in outside.iterdir()] == ["file"]


@pytest.mark.usefixtures("outside")
def test_a_number_above_which_there_is_none_is_the_last(own: Path, weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    (own / "manifests/x/999999999.removed").touch()
    refused(lambda: zoo_add(weights("b.npz", x=2), "x"))
    assert [row["revision"] for row in zoo_list()] == [1]
