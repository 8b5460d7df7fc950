"""Storage of lineages: what is read, and what is rejected."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats import registry
from ckpttool.formats.wire import checked_json
from ckpttool.lineage.records import Chain, Record, Source
from ckpttool.lineage.storage import KEY, lineage_of, path_beside, write_beside

SOURCE = Source("a.ckpt", "bundle", "sha256:00", ("a.ckpt.index",))
CHAIN = Chain((Record("edit", ("a.ckpt",), (SOURCE,), ("cast float16",), {"numpy": "2"}, "2026-01-01"),), 2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A bundle with a lineage next to it."""
    path = tmp_path / "x.ckpt"
    checkpoint.save({"w": np.arange(3)}, path)
    write_beside(path, Source.of(path, "bundle", registry.get("bundle").open(path)), CHAIN)
    return path


def test_beside_and_inside(saved: Path) -> None:
    assert lineage_of(saved, {}) == CHAIN
    assert lineage_of(saved.with_name("x.ckpt.data-00000-of-00001"), {}) == CHAIN
    assert lineage_of(saved, {KEY: json.dumps(Chain().as_json())}) == Chain()
    assert lineage_of(saved.with_name("y.ckpt"), {"other": "text"}) == Chain()


def test_a_lineage_of_another_output_does_not_count(saved: Path) -> None:
    checkpoint.save({"w": np.arange(4)}, saved, overwrite=True)
    assert lineage_of(saved, {}) == Chain()


def without(said: Any, *places: str | int) -> Any:
    """The record without one of its fields."""
    *folders, last = places
    inner = said
    for place in folders:
        inner = inner[place]
    del inner[last]
    said.pop(checked_json.CHECKSUM)
    return said


@pytest.mark.parametrize(
    "places",
    [("left_out",), ("records",), ("output", "files")]
    + [("records", 0, key) for key in ("command", "arguments", "sources", "steps", "versions", "date")]
    + [("records", 0, "sources", 0, key) for key in ("path", "format", "hash", "files")],
    ids=str,
)
def test_what_is_missing_is_named(saved: Path, places: tuple[str | int, ...]) -> None:
    place = path_beside(saved)
    place.write_text(json.dumps(without(json.loads(place.read_text()), *places)))
    with pytest.raises(FormatError) as caught:
        lineage_of(saved, {})
    assert str(caught.value) == f"{place}: not a lineage: KeyError({places[-1]!r})"


@pytest.mark.parametrize(("place", "odd"), [("left_out", math.inf), ("left_out", []), ("records", [3]), ("output", 3)])
def test_what_is_of_another_kind_is_no_lineage(saved: Path, place: str, odd: Any) -> None:
    beside = path_beside(saved)
    facts = {**json.loads(beside.read_text()), place: odd}
    del facts[checked_json.CHECKSUM]
    beside.write_text(json.dumps(facts))
    with pytest.raises(FormatError, match=f"^{beside}: not a lineage: "):
        lineage_of(saved, {})
