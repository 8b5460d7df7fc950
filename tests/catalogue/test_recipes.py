"""Recipes of compacted files: what they say is checked, and the bytes that they give have the hash."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.recipes import Piece, assemble, dumps, is_stored, pieces_of, recipe_path
from ckpttool.core.errors import CorruptCheckpoint

PARTS = (b"one", b"", b"two")
WHOLE = hashlib.sha256(b"".join(PARTS)).hexdigest()


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """A catalogue with a file in three pieces."""
    made = Catalogue.begun(tmp_path / "zoo")
    for part in PARTS:
        blob = made.blob(hashlib.sha256(part).hexdigest())
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(part)
    write(made, [Piece(hashlib.sha256(part).hexdigest(), len(part)) for part in PARTS])
    return made


def write(catalogue: Catalogue, pieces: list[Any]) -> None:
    recipe_path(catalogue, WHOLE).parent.mkdir(parents=True, exist_ok=True)
    recipe_path(catalogue, WHOLE).write_bytes(dumps(pieces))


def test_a_file_is_the_pieces_of_its_recipe(catalogue: Catalogue, tmp_path: Path) -> None:
    assert [each.nbytes for each in pieces_of(catalogue, WHOLE) or ()] == [3, 0, 3]
    assert is_stored(catalogue, WHOLE)
    assemble(catalogue, WHOLE, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"onetwo"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o444
    assert pieces_of(catalogue, "0" * 64) is None
    assert not is_stored(catalogue, "0" * 64)


@pytest.mark.parametrize("piece", [Piece("../" + 61 * "a", 3), Piece(64 * "a", -1), Piece(64 * "a", "3")])  # type: ignore[arg-type]
def test_a_recipe_that_names_no_blob_is_damaged(catalogue: Catalogue, piece: Piece) -> None:
    write(catalogue, [piece])
    with pytest.raises(CorruptCheckpoint, match="is damaged: it names something that is not a blob"):
        pieces_of(catalogue, WHOLE)


def test_a_recipe_that_was_changed_is_damaged(catalogue: Catalogue) -> None:
    path = recipe_path(catalogue, WHOLE)
    path.write_bytes(path.read_bytes().replace(b'"bytes": 3', b'"bytes": 4'))
    with pytest.raises(CorruptCheckpoint, match=f"{WHOLE}.pieces is damaged"):
        is_stored(catalogue, WHOLE)


def test_pieces_that_are_missing_or_others_are_told(catalogue: Catalogue, tmp_path: Path) -> None:
    blob = catalogue.blob(hashlib.sha256(b"two").hexdigest())
    blob.write_bytes(b"six")
    with pytest.raises(CorruptCheckpoint, match="a: its pieces differ from the bytes that were stored"):
        assemble(catalogue, WHOLE, tmp_path / "a")
    blob.unlink()
    assert not is_stored(catalogue, WHOLE)
    with pytest.raises(CorruptCheckpoint, match="b: the bytes of a piece are missing"):
        assemble(catalogue, WHOLE, tmp_path / "b")
