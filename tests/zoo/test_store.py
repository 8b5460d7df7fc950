"""Storing models: revisions, tags, shared blobs, and that an entry is read like any path."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.placing import path_of
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile, UnknownName
from ckpttool.model.model import Model
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact

Weights = Callable[..., Path]
Monkeypatch = pytest.MonkeyPatch
MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def blobs(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("blobs/sha256/*/*"))


def test_an_entry_is_read_wherever_a_path_is(own: Path) -> None:
    added = zoo_add(MODEL, "digits")
    assert (added.name, added.revision, added.family, added.main) == ("digits", 1, "ckpt", "my_model_final.ckpt")
    assert set(Model.open("zoo:digits").checkpoint) == set(checkpoint.open(MODEL))
    np.testing.assert_array_equal(
        checkpoint.open("zoo:digits@1")["hidden1/kernel"].read(), checkpoint.open(MODEL)["hidden1/kernel"].read()
    )
    assert path_of("zoo:digits") == own / "by-name" / "digits" / "1" / "my_model_final.ckpt"


def test_files_and_tensors_are_hashed_by_their_bytes(own: Path) -> None:
    added = zoo_add(MODEL, "digits")
    for file in added.files:
        assert file.sha256 == hashlib.sha256((MODEL.parent / file.path).read_bytes()).hexdigest()
        assert (own / "blobs" / "sha256" / file.sha256[:2] / file.sha256).stat().st_mode & 0o777 == 0o444
    values = checkpoint.open(MODEL)
    assert {row["name"]: row["sha256"] for row in added.tensors} == {
        name: hashlib.sha256(tensor.read().tobytes()).hexdigest() for name, tensor in values.items()
    }


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.h5", "a.ckpt", "a"])
def test_a_layer_has_one_hash_in_every_format(tmp_path: Path, name: str, weights: Weights) -> None:
    added = zoo_add(weights(name, x=1.5), "x")
    (row,) = [row for row in added.tensors if row["name"] == "x"]
    assert row["sha256"] == hashlib.sha256(np.full((3, 2), 1.5, np.float32).tobytes()).hexdigest()
    np.testing.assert_array_equal(checkpoint.open("zoo:x")["x"].read(), np.full((3, 2), 1.5))


def test_revisions_and_tags(own: Path, tmp_path: Path, weights: Weights) -> None:
    first, second = weights("a.npz", x=1), weights("b.npz", x=2)
    assert zoo_add(first, "x", tags=["good"]).revision == 1
    assert zoo_add(second, "x", tags=["best"]).revision == 2
    found = {which: checkpoint.open(f"zoo:{which}")["x"].read().max() for which in ("x", "x@1", "x:good", "x:best")}
    assert found == {"x": 2, "x@1": 1, "x:good": 1, "x:best": 2}
    assert zoo_add(second, "x", tags=["best", "good"]).revision == 2
    assert Catalogue.open(own).tags("x") == {"best": 2, "good": 2}
    assert Catalogue.open(own).revisions("x") == [1, 2]


def test_what_two_entries_have_is_stored_once(own: Path, tmp_path: Path, weights: Weights) -> None:
    path = weights("a.npz", x=1)
    zoo_add(path, "one")
    zoo_add(path, "two")
    assert len(blobs(own)) == 1
    assert (own / "by-name/one/1/a.npz").samefile(own / "by-name/two/1/a.npz")


def test_files_by_their_names_are_made_again(own: Path, tmp_path: Path, weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    shutil.rmtree(own / "by-name")
    assert checkpoint.open("zoo:x")["x"].read().max() == 1
    (own / "by-name/x/1/a.npz").unlink()
    assert checkpoint.open("zoo:x")["x"].read().max() == 1


def test_a_file_that_was_replaced_is_put_back(own: Path, tmp_path: Path, weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    placed = own / "by-name/x/1/a.npz"
    weights("a.npz", x=2).replace(placed)
    assert checkpoint.open("zoo:x")["x"].read().max() == 1
    placed.unlink()
    placed.symlink_to(weights("a.npz", x=3))
    with pytest.raises(CorruptCheckpoint, match=r"a.npz is a link, which is not followed: a catalogue contains none"):
        checkpoint.open("zoo:x")


def test_a_file_that_was_replaced_is_put_back_where_models_are_compacted(own: Path, weights: Weights) -> None:
    shared = dict.fromkeys(["a", "b", "c"], 1.0)
    for value in (1, 2):
        path = weights(f"{value}.safetensors", x=value)
        tensors = {name: np.full((40, 40), each, np.float32) for name, each in {**shared, "x": value}.items()}
        checkpoint.save(tensors, path, overwrite=True)
        zoo_add(path, f"x{value}")
    assert zoo_compact().files == 2
    assert checkpoint.open("zoo:x1")["x"].read().max() == 1
    (placed,) = own.glob("by-name/x1/1/*.safetensors")
    before = placed.stat().st_ino
    assert checkpoint.open("zoo:x1")["x"].read().max() == 1
    assert placed.stat().st_ino == before
    weights("2.safetensors", x=2).replace(placed)
    assert checkpoint.open("zoo:x1")["x"].read().max() == 1


def test_files_of_an_earlier_entry_are_not_taken_for_those_of_a_new_one(
    own: Path, tmp_path: Path, weights: Weights
) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    shutil.rmtree(own / "manifests" / "x")
    zoo_add(weights("b.npz", x=2), "y")
    (own / "manifests" / "x").mkdir()
    text = Catalogue.open(own).find("y").dumps()
    (own / "manifests/x/000001.json").write_bytes(text)
    assert checkpoint.open("zoo:x")["x"].read().max() == 2


def test_lost_bytes_are_said(own: Path, tmp_path: Path, weights: Weights) -> None:
    (file,) = zoo_add(weights("a.npz", x=1), "x").files
    shutil.rmtree(own / "by-name")
    Catalogue.open(own).blob(file.sha256).unlink()
    with pytest.raises(CorruptCheckpoint, match=r"x@1: the bytes of a.npz are missing"):
        path_of("zoo:x")


def test_what_is_not_there_is_said(own: Path, tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(MissingFile, match="is not a catalogue: `ckpttool zoo add` creates one"):
        path_of("zoo:x")
    zoo_add(weights("a.npz", x=1), "digits", tags=["best"])
    for text, said in {
        "zoo:digit": "no entry digit; nearest: digits",
        "zoo:digits@2": "digits@2: a revision that digits has not; it has 1",
        "zoo:digits:bset": "digits has no tag bset; nearest: best",
    }.items():
        with pytest.raises(UnknownName, match=said):
            path_of(text)
    with pytest.raises(CkptError, match="differs from the entry digits only in case"):
        zoo_add(tmp_path / "a.npz", "Digits")


def test_a_damaged_model_is_not_stored(own: Path, tmp_path: Path) -> None:
    for path in MODEL.parent.glob("my_model_final.ckpt.*"):
        shutil.copyfile(path, tmp_path / path.name)
    data = tmp_path / "my_model_final.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptCheckpoint, match="checksum"):
        zoo_add(tmp_path / "my_model_final.ckpt", "digits")
    assert Catalogue.open(own).names() == []
    assert list((own / "tmp").iterdir()) == []


def test_what_a_newer_version_says_besides_survives(tmp_path: Path, weights: Weights) -> None:
    added = zoo_add(weights("a.npz", x=1), "x")
    again = Manifest.from_json({**added.as_json(), "novel": [1]})
    assert Manifest.loads(again.dumps(), "x", 1).as_json() == {**added.as_json(), "novel": [1]}


def test_a_folder_of_something_else_does_not_become_a_catalogue(own: Path, tmp_path: Path, weights: Weights) -> None:
    own.mkdir()
    (own / "thesis.txt").touch()
    with pytest.raises(CkptError, match=r"contains thesis.txt and is not a catalogue"):
        zoo_add(weights("a.npz", x=1), "x")


def test_nothing_is_written_to_an_entry(weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    with pytest.raises(CkptError, match=r"zoo:x is an entry of the catalogue: write a file, then store it"):
        checkpoint.save(checkpoint.open("zoo:x"), "zoo:x", overwrite=True)


def test_where_there_are_no_links_files_are_copied(
    own: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for value in (1, 2):
        zoo_add(weights("a.npz", x=value), "x")
    assert [checkpoint.open(f"zoo:x@{number}")["x"].read().max() for number in (1, 2)] == [1, 2]
    placed = own / "by-name/x/2/a.npz"
    assert placed.stat().st_nlink == 1
    before = placed.stat().st_ino
    checkpoint.open("zoo:x@2")
    assert placed.stat().st_ino == before


def test_where_there_are_no_modes_either_files_are_copied_once(
    own: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    zoo_add(weights("a.npz", x=1), "x")
    before = (own / "by-name/x/1/a.npz").stat().st_ino
    checkpoint.open("zoo:x")
    assert (own / "by-name/x/1/a.npz").stat().st_ino == before
