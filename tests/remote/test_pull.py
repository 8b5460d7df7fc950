"""Models pulled from a web server: a file with the given hash, or an archive with a model."""

import hashlib
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedModel
from ckpttool.graph import files
from ckpttool.remote import servers
from ckpttool.remote import web as web_reading
from ckpttool.verbs.zoo_pull import zoo_pull

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = "my_model_final.ckpt"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty catalogue and cache."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "zoo"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pulled(url: str, sha256: str | None, **options: Any) -> Manifest:
    return zoo_pull(url, sha256=sha256, talk=lambda _: None, **options)


def entries(root: Path) -> list[str]:
    """Return the files of a catalogue, and its downloads."""
    kept = [*root.glob("blobs/*/*/*"), *(root / "tmp").glob("*"), *root.parent.glob("cache/ckpttool/pulls/*/*")]
    return [*Catalogue.begun(root).names(), *(path.name for path in kept)]


@pytest.fixture
def file(web: Any, weights: dict[str, np.ndarray]) -> Path:
    checkpoint.save(weights, web.folder / "model.safetensors")
    return web.folder / "model.safetensors"


def test_a_file_becomes_an_entry(web: Any, file: Path, own: Path) -> None:
    url = web.url("model.safetensors?X-Amz-Signature=secret")
    manifest = pulled(url, sha256(file), name="x")
    assert [each.path for each in manifest.files] == ["model.safetensors"]
    assert manifest.source == {"url": url.partition("?")[0], "revision": f"sha256:{sha256(file)}"}
    assert "secret" not in json.dumps(manifest.as_json())
    assert set(checkpoint.open("zoo:x")) == {"first", "middle", "rest"}
    assert list((own.parent / "cache" / "ckpttool" / "pulls").glob("*/*")) == []


def test_what_was_fetched_is_there_once(web: Any, file: Path) -> None:
    for _ in range(2):
        assert pulled(web.url("model.safetensors"), sha256(file).upper(), name="x").revision == 1


def test_another_hash_leaves_nothing(web: Any, file: Path, own: Path) -> None:
    with pytest.raises(CorruptCheckpoint, match=rf"has the SHA-256 {sha256(file)}, expected {'0' * 64}: nothing is"):
        pulled(web.url("model.safetensors"), "0" * 64, name="x")
    assert entries(own) == []


def test_without_a_hash_it_is_asked_for(web: Any, file: Path) -> None:
    with pytest.raises(CkptError, match="specify `sha256`"):
        pulled(web.url("model.safetensors"), None)
    with pytest.raises(CkptError, match=r"`sha256` is 'abc', expected a SHA-256"):
        pulled(web.url("model.safetensors"), "abc", name="x")
    with pytest.raises(MissingFile, match=r"none.h5 is missing: a model of several files is fetched as an archive"):
        pulled(web.url("none.h5"), "0" * 64)
    assert web.given == {}


def test_a_download_that_breaks_off_is_gone_on_with(web: Any, file: Path, own: Path) -> None:
    size = file.stat().st_size
    web.cut = 100_000
    with pytest.raises(CorruptCheckpoint, match="the server gave 0 bytes"):
        pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert Catalogue.open(own).names() == []
    (part,) = own.parent.glob("cache/ckpttool/pulls/partial/*")
    assert part.stat().st_size >= size - 100_000
    web.cut, web.given, left = 0, {}, size - part.stat().st_size
    pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert list(web.given.values()) == [left]
    assert set(checkpoint.open("zoo:x")) == {"first", "middle", "rest"}


def test_what_a_killed_process_left_is_gone_on_with(web: Any, file: Path, own: Path) -> None:
    import subprocess
    import sys

    size = file.stat().st_size
    code = f"""
import os
from ckpttool.zoo.downloads import downloaded

def fetch(at, take):
    take(at, open({str(file)!r}, "rb").read(300_000))
    os._exit(9)

with downloaded("x", {sha256(file)!r}, {size}, fetch):
    pass
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (part,) = own.parent.glob("cache/ckpttool/pulls/partial/.*")
    left = size - part.stat().st_size
    pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert list(web.given.values()) == [left]
    assert left < size


def test_what_is_left_of_another_file_does_not_pass(web: Any, file: Path, own: Path) -> None:
    part = own.parent / "cache" / "ckpttool" / "pulls" / "partial" / f"{sha256(file)}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    with pytest.raises(CorruptCheckpoint, match="has the SHA-256"):
        pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert pulled(web.url("model.safetensors"), sha256(file), name="x").revision == 1


def test_a_server_that_leads_elsewhere_and_one_that_is_busy(web: Any, file: Path) -> None:
    web.moved = {"here.safetensors": web.url("model.safetensors")}
    web.busy = ["0", "0"]
    manifest = pulled(web.url("here.safetensors"), sha256(file))
    assert (manifest.name, manifest.main, web.busy) == ("here", "here.safetensors", [])
    web.busy = ["3600"] * 2
    with pytest.raises(CkptError, match=r"the server answers 429 Too Many Requests: try again in 3600 seconds"):
        pulled(web.url("here.safetensors"), "0" * 64)


@pytest.mark.parametrize("more", [-10, 10])
def test_a_server_that_lies_about_a_size(
    web: Any, file: Path, own: Path, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = file.stat().st_size + more
    monkeypatch.setattr(web_reading, "metadata", lambda _: servers.RemoteFile(size, None))
    with pytest.raises(CorruptCheckpoint):
        pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert Catalogue.begun(own).names() == []


def test_more_than_the_disk_holds_is_not_begun(web: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_reading, "metadata", lambda _: servers.RemoteFile(1 << 49, None))
    with pytest.raises(CkptError, match="has space for"):
        pulled(web.url("model.safetensors"), sha256(file), name="x")
    assert web.given == {}


def archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["digits_v1.tar.gz", "digits_v1.zip"])
def test_of_an_archive_the_model_is_taken(web: Any, own: Path, name: str) -> None:
    model = {f"./v1/{path.name}": path.read_bytes() for path in FIXTURES.glob(f"{MODEL}.*")}
    packed = archive(web.folder / name, {**model, "v1/train.py": b"import os", "v1/vocab.txt": b"a"})
    manifest = pulled(web.url(name), sha256(packed))
    assert (manifest.name, manifest.main, manifest.family) == ("digits_v1", MODEL, "ckpt")
    assert {file.path for file in manifest.files} == {path.name for path in FIXTURES.glob(f"{MODEL}.*")}
    assert set(checkpoint.open("zoo:digits_v1")) == set(checkpoint.open(FIXTURES / MODEL))
    assert list((own.parent / "cache" / "ckpttool" / "pulls").glob("*/*")) == []


def test_of_an_archive_with_several_models_one_is_named(web: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    data = (tmp_path / "a.npz").read_bytes()
    packed = archive(web.folder / "m.tgz", {"a.npz": data, "b.npz": data})
    with pytest.raises(CkptError, match=r"m.tgz has several models: a.npz, b.npz; specify one, such as http\S+m.tgz#a"):
        pulled(web.url("m.tgz"), sha256(packed))
    assert pulled(web.url("m.tgz#b.npz"), sha256(packed)).main == "b.npz"


@pytest.mark.parametrize("name", ["../out.npz", "/out.npz", "a/../../out.npz"])
@pytest.mark.parametrize("kind", ["m.tgz", "m.zip"])
def test_an_archive_does_not_write_elsewhere(web: Any, own: Path, name: str, kind: str) -> None:
    packed = archive(web.folder / kind, {name: b"x"})
    with pytest.raises(CorruptCheckpoint, match="which is not inside its folder"):
        pulled(web.url(kind), sha256(packed))
    assert entries(own) == []


def test_links_in_an_archive_are_left_out(web: Any, own: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.npz").write_bytes(b"x")
    with tarfile.open(web.folder / "m.tar", "w") as tar:
        member = tarfile.TarInfo("model.npz")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.npz")
        tar.addfile(member)
    with pytest.raises(MissingFile, match="has no model in a supported format"):
        pulled(web.url("m.tar"), sha256(web.folder / "m.tar"))
    assert entries(own) == []


def test_what_is_no_archive_is_said(web: Any, own: Path) -> None:
    for name in ("m.tgz", "m.zip"):
        (web.folder / name).write_bytes(b"no archive")
        with pytest.raises(CorruptCheckpoint, match=rf"{name} is damaged or truncated"):
            pulled(web.url(name), sha256(web.folder / name))
    assert entries(own) == []


def test_what_is_no_model_is_not_stored(web: Any, own: Path) -> None:
    (web.folder / "x.h5").write_bytes(b"no HDF5")
    with pytest.raises(CkptError):
        pulled(web.url("x.h5"), sha256(web.folder / "x.h5"))
    assert entries(own) == []


def saved_model(damaged: str) -> dict[str, bytes]:
    """Return the files of a SavedModel one of which is cut off."""
    bundle = {end: (FIXTURES / f"{MODEL}{end}").read_bytes() for end in (".index", ".data-00000-of-00001")}
    graph = SavedModel(meta_graphs=[files.load(FIXTURES / MODEL).meta]).SerializeToString()
    there = {"saved_model.pb": graph, **{f"variables/variables{end}": data for end, data in bundle.items()}}
    return {name: data[:100] if name == damaged else data for name, data in there.items()}


@pytest.mark.parametrize("folder", ["", "export/1/"])
@pytest.mark.parametrize(
    "damaged", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_an_error_names_what_was_asked_for(web: Any, own: Path, tmp_path: Path, folder: str, damaged: str) -> None:
    there = {folder + name: data for name, data in saved_model(damaged).items()}
    path = archive(web.folder / "model.zip", there)
    with pytest.raises(CkptError) as error:
        pulled(web.url("model.zip"), sha256(path))
    assert f"{web.url('model.zip')}#{folder}{damaged}" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert Catalogue.begun(own).names() == []


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.safetensors", b"\x10" + bytes(7) + b"{bad"), ("x.npz", b"PK\3\4xx"), ("x.h5", b"\x89HDF\r\n\x1a\nxx")],
)
def test_so_does_that_of_a_single_file(web: Any, tmp_path: Path, name: str, start: bytes) -> None:
    (web.folder / name).write_bytes(start)
    with pytest.raises(CkptError, match=rf"^{re.escape(web.url(name))}") as error:
        pulled(web.url(name), sha256(web.folder / name))
    assert str(tmp_path) not in str(error.value)


def test_the_command_says_what_it_stored(web: Any, file: Path, run: Any) -> None:
    said = run("zoo", "pull", web.url("model.safetensors"), "--sha256", sha256(file), "--name", "x", "--tag", "t")
    assert said.startswith("x@1: weights, ")
    assert "Error: " in run("zoo", "pull", web.url("model.safetensors"), exit_code=2)
    assert "--sha256" in run("zoo", "pull", web.url("model.safetensors"), "--name", "x", exit_code=2)
