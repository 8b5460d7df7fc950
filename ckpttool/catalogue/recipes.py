"""Recipes: a compacted file is not a blob of its own, but a concatenation of blobs, listed in `HASH.pieces`."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import is_hash
from ckpttool.core import plain_files
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.wire import checked_json

SUFFIX = ".pieces"
_STEP, _MOST = 4 << 20, 64 << 20
"""Bytes that are copied at once, and the maximum size of a recipe in bytes."""


class Piece(NamedTuple):
    """A blob that is a part of a file."""

    sha256: str
    nbytes: int


def recipe_path(catalogue: Catalogue, sha256: str) -> Path:
    """Return the path of a file's recipe, which exists if the file was compacted."""
    blob = catalogue.blob(sha256)
    return blob.with_name(f"{blob.name}{SUFFIX}")


def dumps(pieces: Sequence[Piece]) -> bytes:
    """Return a recipe as JSON with a checksum."""
    return checked_json.dumps(
        {"pieces": [{"sha256": each.sha256, "bytes": each.nbytes} for each in pieces]}, indent=None
    )


def pieces_of(catalogue: Catalogue, sha256: str) -> list[Piece] | None:
    """Return the blobs that a compacted file consists of, in order; None if it was not compacted.

    Raises:
        CorruptCheckpoint: the recipe is damaged.
    """
    path = catalogue.inside(recipe_path(catalogue, sha256))
    try:
        with plain_files.opened(path) as file:
            raw = file.read(_MOST)
    except FileNotFoundError:
        return None
    try:
        rows = checked_json.loads(raw)["pieces"]
        pieces = [Piece(row["sha256"], row["bytes"]) for row in rows]
        if not all(is_hash(each.sha256) and isinstance(each.nbytes, int) and each.nbytes >= 0 for each in pieces):
            raise ValueError("it names something that is not a blob")
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error}") from error
    return pieces


def is_stored(catalogue: Catalogue, sha256: str) -> bool:
    """Return whether the content with a hash is stored, as one blob or as pieces."""
    if has_blob(catalogue, sha256):
        return True
    pieces = pieces_of(catalogue, sha256)
    if pieces is None and catalogue.rescued(f"{sha256}{SUFFIX}"):
        pieces = pieces_of(catalogue, sha256)
    return pieces is not None and all(has_blob(catalogue, each.sha256) for each in pieces)


def has_blob(catalogue: Catalogue, sha256: str) -> bool:
    """Return whether a blob exists; one that was set aside for removal is restored."""
    return plain_files.is_file(catalogue.inside(catalogue.blob(sha256))) or catalogue.rescued(sha256)


def assemble(catalogue: Catalogue, sha256: str, target: Path) -> None:
    """Write a compacted file by concatenating its pieces.

    Raises:
        CorruptCheckpoint: a piece is missing, or the result has another hash.
    """
    total = hashlib.sha256()
    with target.open("xb") as file:
        for piece in pieces_of(catalogue, sha256) or ():
            blob = catalogue.blob(piece.sha256)
            if not has_blob(catalogue, piece.sha256):
                raise CorruptCheckpoint(f"{target.name}: the bytes of a piece are missing, {blob}")
            with plain_files.opened(blob) as reading:
                while part := reading.read(_STEP):
                    total.update(part)
                    file.write(part)
        os.fchmod(file.fileno(), 0o444)
    if total.hexdigest() != sha256:
        raise CorruptCheckpoint(f"{target.name}: its pieces differ from the bytes that were stored")
