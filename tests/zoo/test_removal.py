"""Moving, removing and collecting: what is removed, what stays, and what is restored."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, UnknownName
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_history import zoo_history
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify
from ckpttool.zoo import unused
from ckpttool.zoo.blobs import at_work

Weights = Callable[..., Path]


def blobs(root: Path) -> list[Path]:
    return sorted(root.glob("blobs/sha256/*/*"))


def value_of(entry: str) -> float:
    return float(checkpoint.open(f"zoo:{entry}")["x"].read().max())


def damage(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def test_a_tag_names_one_revision_at_a_time(weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), "x")
    assert zoo_tag("x@1", ["best", "old"]) == {"best": 1, "old": 1}
    assert zoo_tag("x", ["best"]) == {"best": 2, "old": 1}
    assert zoo_tag("x:old", ["older"], ["old"]) == {"best": 2, "older": 1}
    with pytest.raises(UnknownName, match="x has no tag oder; nearest: older"):
        zoo_tag("x", delete=["oder"])
    with pytest.raises(CkptError, match="cannot be the tag"):
        zoo_tag("x", ["../../zoo"])


def test_a_moved_entry_keeps_revisions_and_tags(own: Path, weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), "x")
    zoo_tag("x@1", ["old"])
    zoo_move("x", "y")
    assert Catalogue.open(own).names() == ["y"]
    assert (value_of("y"), value_of("y:old")) == (2, 1)
    assert Catalogue.open(own).find("y").name == "y"
    zoo_move("y", "Y")  # names that differ only in case are the same
    assert value_of("Y") == 2


def test_an_entry_is_not_moved_onto_another(weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x")
    zoo_add(weights("2.npz", x=2), "y")
    with pytest.raises(ExistingOutput, match="the entry y exists already"):
        zoo_move("x", "y")
    with pytest.raises(CkptError, match="in case"):
        zoo_move("x", "Y")
    with pytest.raises(UnknownName, match="no entry z;"):
        zoo_move("z", "a")
    with pytest.raises(CkptError, match="cannot be the name"):
        zoo_move("x", "../a")
    assert (value_of("x"), value_of("y")) == (1, 2)


def test_a_removed_revision_is_gone_and_its_number_is_not_given_again(weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), "x")
    zoo_tag("x@2", ["best"])
    assert zoo_remove("x@2") == ["x@2"]
    assert value_of("x") == 1
    with pytest.raises(UnknownName, match="x has no tag best"):
        value_of("x:best")
    with pytest.raises(UnknownName, match="it was removed"):
        zoo_remove("x@2")
    assert zoo_add(weights("3.npz", x=3), "x").revision == 3


def test_a_tag_is_not_taken_for_a_revision_to_remove(weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x", tags=["best"])
    with pytest.raises(CkptError, match="x:best is a tag of x@1: `ckpttool zoo remove x@1` removes"):
        zoo_remove("x:best")


def test_what_is_collected_is_what_no_entry_has(own: Path, weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), f"x{value}")
    zoo_add(weights("1.npz", x=1), "same")
    before = blobs(own)
    zoo_remove("x1")
    zoo_remove("x2")
    assert blobs(own) == before
    assert len(zoo_gc(dry_run=True).blobs) == 1
    assert blobs(own) == before
    assert len(zoo_gc().blobs) == 1
    assert len(blobs(own)) == 1
    assert value_of("same") == 1
    assert zoo_gc().blobs == []
    assert {each.name for each in own.iterdir()} == {
        *("blobs", "by-name", "condemned", "manifests", "tmp", "zoo.json"),
    }
    assert [list((own / folder).iterdir()) for folder in ("condemned", "tmp")] == [[], []]


def test_nothing_is_collected_while_a_manifest_cannot_be_read(own: Path, weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x")
    zoo_add(weights("2.npz", x=2), "y")
    zoo_remove("y")
    damage(own / "manifests/x/000001.json")
    with pytest.raises(CorruptCheckpoint, match="nothing is removed while the blobs of that manifest are unknown"):
        zoo_gc()
    assert len(blobs(own)) == 2
    zoo_remove("x@1")
    assert len(zoo_gc().blobs) == 2


def test_blobs_of_what_is_being_added_are_kept(own: Path, weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x")
    zoo_remove("x")
    with at_work(Catalogue.open(own)):
        assert zoo_gc().kept == 1
    assert len(zoo_gc().blobs) == 1


def test_a_blob_that_is_named_while_it_is_collected_comes_back(
    own: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adding process has seen the blob, and writes the manifest just after it was set aside."""
    manifest = zoo_add(weights("1.npz", x=1), "x")
    text = manifest.dumps()
    zoo_remove("x")
    judged = unused.judge

    def late(catalogue: Catalogue, aside: list[Path], marked: unused.Marked) -> None:
        if aside:
            (own / "manifests" / "x").mkdir()
            (own / "manifests/x/000001.json").write_bytes(text)
            marked.read()
        judged(catalogue, aside, marked)

    monkeypatch.setattr(unused, "judge", late)
    zoo_gc()
    assert value_of("x") == 1


def test_what_a_killed_collection_has_set_aside_comes_back_or_goes(own: Path, weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), f"x{value}")
    zoo_remove("x2")
    (own / "condemned").mkdir()
    for blob in blobs(own):
        blob.rename(own / "condemned" / f"{blob.name}.0123456789ab")
    shutil.rmtree(own / "by-name")
    assert value_of("x1") == 1
    zoo_gc()
    assert len(blobs(own)) == 1
    assert list((own / "condemned").iterdir()) == []


def test_what_is_left_over_of_interrupted_runs_is_cleared_away(own: Path, weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x", tags=["a"])
    (own / "by-name/gone/1").mkdir(parents=True)
    (own / "by-name/x/7").mkdir()
    (own / "manifests/empty").mkdir()
    (own / "manifests/x/old.tag").write_text("7\n")
    assert len(zoo_gc(dry_run=True).others) == 3
    others = zoo_gc().others
    assert sorted(each.path for each in others) == ["by-name/gone", "by-name/x/7", "manifests/x/old.tag"]
    assert "the tag old of x refers to a revision that no longer exists" in [each.what for each in others]
    assert Catalogue.open(own).names() == ["x"]
    assert zoo_gc().others == []
    assert value_of("x:a") == 1


def test_history_says_what_changed(weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1, y=1), "x", tags=["first"])
    zoo_add(weights("2.npz", x=1, y=2, z=3), "x")
    last, first = zoo_history("x")
    assert (last["revision"], last["changed"], last["gone"]) == (2, ["y", "z"], [])
    assert (first["revision"], first["changed"], first["named"]) == (1, None, ["first"])


def test_verification_reads_every_byte(own: Path, weights: Weights) -> None:
    zoo_add(weights("1.npz", x=1), "x")
    (file,) = zoo_add(weights("2.npz", x=2), "y").files
    zoo_add(weights("2.npz", x=2), "z")
    whole = zoo_verify()
    assert (whole.entries, whole.files, whole.problems) == (3, 2, [])
    damage(Catalogue.open(own).blob(file.sha256))
    assert [(each.entry, each.what) for each in zoo_verify().problems] == [("y@1", "2.npz"), ("z@1", "2.npz")]
    assert zoo_verify("x").problems == []


def test_hashes_of_tensors_that_lie_are_found(own: Path, weights: Weights) -> None:
    manifest = zoo_add(weights("1.safetensors", x=1), "x")
    path = own / "manifests/x/000001.json"
    path.unlink()
    (row,) = manifest.tensors
    lying = {**manifest.as_json(), "tensors": [{**row, "sha256": "0" * 64}]}
    path.write_bytes(type(manifest).from_json(lying).dumps())
    assert [(each.entry, each.what) for each in zoo_verify().problems] == [("x@1", "x")]


def test_a_move_that_the_system_refuses_is_not_said_to_be_of_a_taken_name(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo_add(weights("1.npz", x=1), "x")

    def refused(self: Path, _target: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(PermissionError, match="Permission denied"):
        zoo_move("x", "y")
