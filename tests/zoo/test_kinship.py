"""Kinship by content: which layers are byte for byte in which other revisions, and which are too common to count."""

import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.formats.wire import checked_json
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_show import zoo_show

Added = Callable[..., Manifest]
Tensors = Mapping[str, Any]


def layer(name: str, seed: int, bias: float | None = 0.0) -> Tensors:
    """A layer of numbers that depend on a seed, with a bias of one number."""
    kernel = np.random.default_rng(seed).random((20, 20), np.float32)
    return {f"{name}/kernel": kernel, **({} if bias is None else {f"{name}/bias": np.full(20, bias, np.float32)})}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Added:
    """Put tensors into the catalogue, each model one second after the previous one."""
    times = iter(range(100))

    def add(name: str, *parts: Tensors, suffix: str = "npz") -> Manifest:
        path = tmp_path / f"{name}.{suffix}"
        checkpoint.save({key: value for part in parts for key, value in part.items()}, path, overwrite=True)
        second = next(times)
        monkeypatch.setattr("ckpttool.zoo.store.now", lambda: f"2026-01-01T00:00:{second:02}Z")
        return zoo_add(path, name)

    return add


def said(entry: str) -> list[str]:
    return list(zoo_show(entry).kinship.lines())


def test_frozen_layers_are_those_of_the_base(added: Added) -> None:
    added("digits", layer("hidden1", 1), layer("hidden2", 2), layer("outputs", 3))
    added("tuned", layer("hidden1", 1), layer("hidden2", 2), layer("outputs", 4))
    assert said("tuned") == ["hidden1, hidden2 are those of digits@1"]
    assert said("digits") == ["hidden1, hidden2 are in tuned@1, too"]
    assert zoo_show("tuned").as_json()["kin"] == [
        {
            "entry": "digits@1",
            "older": True,
            "layers": ["hidden1", "hidden2"],
            "there": ["hidden1", "hidden2"],
            "parameters": 840,
        }
    ]


def test_they_are_known_under_other_names_and_in_other_formats(added: Added) -> None:
    added("digits", layer("hidden1", 1), layer("outputs", 3))
    added("renamed", layer("encoder/dense", 1), layer("outputs", 4), suffix="safetensors")
    assert said("renamed") == ["encoder/dense is hidden1 of digits@1"]


def test_an_older_revision_of_the_entry_itself_is_one(added: Added) -> None:
    added("digits", layer("hidden1", 1), layer("outputs", 3))
    added("digits", layer("hidden1", 1), layer("outputs", 4))
    assert said("digits@2") == ["hidden1 is that of digits@1"]
    zoo_move("digits", "mnist")
    assert said("mnist") == ["hidden1 is that of mnist@1"]


def test_the_revision_that_explains_most_comes_first_and_others_explain_the_rest(added: Added) -> None:
    added("first", layer("a", 1), layer("x", 9))
    added("second", layer("a", 1), layer("b", 2), layer("y", 8))
    added("other", layer("c", 3), layer("z", 7))
    added("joined", layer("a", 1), layer("b", 2), layer("c", 3), layer("d", 4))
    added("copy", layer("a", 1), layer("b", 2), layer("c", 3), layer("d", 4))
    assert said("joined") == [
        "a, b are those of second@1",
        "c is that of other@1",
        "d is in copy@1, too",
        "1 more revision shares tensors with it",
    ]
    assert said("copy") == ["all 4 layers are those of joined@1", "3 more revisions share tensors with it"]


def test_of_equally_good_explanations_the_oldest_counts(added: Added) -> None:
    for seed, name in enumerate(("digits", "b-tuned", "a-tuned"), start=10):
        added(name, layer("hidden1", 1), layer("outputs", seed))
    assert said("a-tuned") == ["hidden1 is that of digits@1", "1 more revision shares tensors with it"]


PLAIN: Tensors = {
    "norm/gamma": np.ones(64, np.float32),
    "norm/beta": np.zeros(64, np.float32),
    "half/gamma": np.ones((8, 8), np.float16),
    "double/gamma": np.ones(64, np.float64),
    "positions/ids": np.arange(512, dtype=np.int64)[None],
    "bytes/ids": np.arange(512, dtype=np.int64).astype(np.uint8),
    "head/kernel": np.zeros((2000, 200), np.float32),
    "step/count": np.int64(1234567),
    "rescaling/mean": np.array([0.485, 0.456, 0.406], np.float32),
}


def test_what_is_in_all_kinds_of_models_tells_nothing(added: Added) -> None:
    added("one", PLAIN, layer("a", 1))
    added("two", PLAIN, layer("a", 2))
    assert said("two") == []
    assert zoo_show("two").as_json()["also_share"] == 0


def test_it_is_told_besides_what_does(added: Added) -> None:
    added("one", PLAIN, layer("a", 1), layer("b", 5))
    added("two", PLAIN, layer("a", 1), layer("b", 6))
    assert said("two") == ["all layers but b are those of one@1"]


def test_a_layer_of_which_a_part_was_trained_is_not_the_same(added: Added) -> None:
    added("digits", layer("hidden1", 1, bias=0), layer("zeros", 2, bias=0))
    added("tuned", layer("hidden1", 1, bias=0.5), layer("zeros", 3, bias=0))
    assert said("tuned") == ["1 revision shares tensors with it"]


def test_the_same_bytes_in_another_shape_are_another_layer(added: Added) -> None:
    numbers = np.random.default_rng(1).random(400, np.float32)
    added("flat", {"a/kernel": numbers})
    added("square", {"a/kernel": numbers.reshape(20, 20)})
    added("counted", {"a/kernel": numbers.view(np.int32)})
    assert said("square") == said("counted") == ["2 revisions share tensors with it"]


def test_what_is_removed_or_damaged_is_kin_no_more(own: Path, added: Added) -> None:
    added("a", layer("hidden1", 1))
    added("b", layer("hidden1", 1))
    added("c", layer("hidden1", 1), layer("outputs", 2))
    assert said("c")[0] == "hidden1 is that of a@1"
    zoo_remove("a")
    assert said("c") == ["hidden1 is that of b@1"]
    path = own / "manifests/b/000001.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"hidden1", b"hidden2", 1))
    assert said("c") == []


def damage_pages(index: Path) -> None:
    """Overwrite the first page of the table of tensors; the rows of entries stay."""
    with sqlite3.connect(index) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tensors'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    with index.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


def test_an_index_whose_tensors_are_damaged_is_made_anew(own: Path, added: Added) -> None:
    added("a", layer("hidden1", 1))
    added("b", layer("hidden1", 1))
    assert said("b")
    damage_pages(own / "index.sqlite")
    assert said("b") == ["hidden1 is that of a@1"]


MALFORMED: list[dict[str, Any]] = [
    {"name": "hidden2/kernel"},
    {"name": 7},
    {"shape": "20, 20"},
    {"shape": [-1]},
    {"shape": [1 << 62] * 10_000},
    {"shape": [1 << 62] * 3},
    {"dtype": None},
    {"dtype": "\x1b[31m"},
    {"kind": []},
]


@pytest.mark.parametrize("change", MALFORMED, ids=str)
def test_manifests_of_strangers_claim_nothing_that_they_do_not_say_properly(
    own: Path, added: Added, change: dict[str, Any]
) -> None:
    base = added("base", layer("hidden1", 1))
    added("tuned", layer("hidden1", 1), layer("outputs", 2))
    document = base.as_json()
    for row in document["tensors"]:
        row.update(change)
    path = own / "manifests/base/000001.json"
    path.unlink()
    path.write_bytes(checked_json.dumps(document))
    assert [line for line in said("tuned") if "base" in line and "kind" not in change] == []


@pytest.mark.parametrize(
    "layers", [[{"name": "a"}], [{"name": "a", "variables": ["b"]}], [{"name": "a", "variables": []}]]
)
def test_layers_of_which_nothing_is_known_are_left_out(own: Path, added: Added, layers: list[Any]) -> None:
    document = added("base", layer("hidden1", 1)).as_json()
    added("tuned", layer("hidden1", 1))
    path = own / "manifests/base/000001.json"
    path.unlink()
    path.write_bytes(checked_json.dumps({**document, "layers": layers}))
    assert said("base") == []
    assert Catalogue.open(own).find("base").layers == layers
