"""The index: lists follow from the manifests, whatever happened to the index meanwhile."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.zoo.index import Index

Weights = Callable[..., Path]


def names(**asked: object) -> list[str]:
    return [row["name"] for row in zoo_list(**asked)]  # type: ignore[arg-type]


@pytest.fixture
def several(own: Path, weights: Weights) -> Path:
    zoo_add(weights("a.npz", x=1), "resnet-18", tags=["image"], licence="mit", metrics=["accuracy=0.7"])
    zoo_add(weights("b.npz", x=2, y=5), "resnet-50", licence="apache-2.0", metrics=["accuracy=0.9"])
    zoo_add(weights("c.npz", x=3, y=5, z=6), "bert", task="fill-mask", datasets=["wiki"])
    return own


@pytest.mark.usefixtures("several")
def test_names_filters_and_order() -> None:
    assert names() == ["bert", "resnet-18", "resnet-50"]
    assert names(names=["RES*"]) == ["resnet-18", "resnet-50"]
    assert names(names=["res*"], exclude=r"\d8$") == ["resnet-50"]
    assert names(filters=["parameters<10"]) == ["resnet-18"]
    assert names(filters=["tag=im*"]) == names(filters=["license=MIT"]) == ["resnet-18"]
    assert names(filters=["accuracy>0.5", "size<1MB"]) == ["resnet-18", "resnet-50"]
    assert names(filters=["license!=mit"]) == ["bert", "resnet-50"]
    assert names(filters=["dataset=wiki"]) == names(filters=["task=fill*"]) == ["bert"]
    assert names(filters=["created<2000"]) == []
    assert names(sort=["parameters:desc"]) == ["bert", "resnet-50", "resnet-18"]
    assert names(sort=["accuracy"]) == ["resnet-18", "resnet-50", "bert"]


@pytest.mark.usefixtures("several")
def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(UnknownName, match="no field or metric acuracy; nearest: accuracy"):
        names(filters=["acuracy>1"])
    for asked, said in (
        ({"filters": ["parameters"]}, "is not a filter"),
        ({"filters": ["parameters<many"]}, "'many' is not a number"),
        ({"sort": ["name:up"]}, "is not an order"),
        ({"exclude": "("}, "is not a regular expression"),
        ({"exclude": "(a+)+"}, "could take years"),
    ):
        with pytest.raises(CkptError, match=said):
            names(**asked)


def test_every_revision_is_listed_where_it_is_asked_for(weights: Weights) -> None:
    for value in (1, 2):
        zoo_add(weights(f"{value}.npz", x=value), "x")
    assert [row["revision"] for row in zoo_list()] == [2]
    assert [row["revision"] for row in zoo_list(every=True)] == [1, 2]


def test_what_changes_within_a_tick_of_the_clock_is_seen(weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x")
    for tag in map(str, range(5)):
        assert zoo_list()[0]["named"] == list(map(str, range(int(tag))))
        zoo_tag("x", [tag])


def damage_by_cutting(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def damage_by_noise(index: Path) -> None:
    index.write_bytes(os.urandom(5000))


def damage_of_a_row(index: Path) -> None:
    index.write_bytes(index.read_bytes().replace(b'"mit"', b'"MIT"'))


def damage_of_the_version(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def damage_of_the_tables(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute("DROP TABLE entries")
    database.close()


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, damage_by_cutting, damage_by_noise, damage_of_a_row, damage_of_the_version, damage_of_the_tables],
)
def test_a_damaged_index_is_made_anew(several: Path, damage: Callable[[Path], None]) -> None:
    rows = zoo_list()
    damage(several / "index.sqlite")
    assert zoo_list() == rows
    with sqlite3.connect(several / "index.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM entries").fetchone() == (3,)
    database.close()


def test_where_no_index_can_be_kept_it_is_made_each_time(several: Path) -> None:
    rows = zoo_list()
    (several / "index.sqlite").unlink()
    (several / "index.sqlite").mkdir()
    assert zoo_list() == rows


def test_entries_that_others_changed_are_read_again(several: Path, weights: Weights) -> None:
    long_ago = time.time() - 100
    for name in ("bert", "resnet-18", "resnet-50"):
        os.utime(several / "manifests" / name, (long_ago, long_ago))
    assert len(zoo_list()) == 3
    (several / "manifests" / "bert").rename(several / "manifests" / "gpt")
    zoo_add(weights("d.npz", x=4), "resnet-18")
    assert [(row["name"], row["revision"]) for row in zoo_list()] == [("gpt", 1), ("resnet-18", 2), ("resnet-50", 1)]


def test_an_entry_that_was_replaced_under_its_number_is_read_again(own: Path, weights: Weights) -> None:
    zoo_add(weights("a.npz", x=1), "x", licence="mit")
    zoo_add(weights("a.npz", x=1), "y", licence="isc")
    assert zoo_list()[0]["license"] == "mit"
    (own / "manifests/x/000001.json").unlink()
    (own / "manifests/y/000001.json").rename(own / "manifests/x/000001.json")
    assert [(row["name"], row["license"]) for row in zoo_list()] == [("x", "isc")]


def test_a_damaged_manifest_does_not_hide_the_others(several: Path) -> None:
    path = several / "manifests/bert/000001.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"fill-mask", b"fill-musk"))
    rows = {row["name"]: row for row in zoo_list()}
    assert "bert@1 is damaged" in rows["bert"]["problem"]
    assert rows["resnet-18"]["license"] == "mit"


def test_who_holds_a_tensor_is_found_by_its_hash(several: Path) -> None:
    catalogue = Catalogue.open(several)
    one, both = ([row["sha256"] for row in catalogue.find(name).tensors] for name in ("resnet-18", "bert"))
    with Index.of(catalogue) as index:
        assert [each[:2] for each in index.holding(one)] == [("resnet-18", 1)]
        assert [(each.name, each.shared) for each in index.holding(both)] == [("bert", 3), ("resnet-50", 1)]
        assert index.holding([]) == index.holding(["0" * 64]) == []
        assert index.shared(both) == {both[1]}
        assert index.shared([]) == index.shared(one) == set()
