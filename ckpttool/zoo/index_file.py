"""The index file: its tables, the fields of manifests that they contain, and their update from the entries' folders."""

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.errors import CkptError
from ckpttool.core.plain_files import SETTLED
from ckpttool.formats.writing.temporary import sweep, temporary_name
from ckpttool.zoo.stacks import input_text, stack_text

VERSION = 3
"""The version of the tables; an index of another version is rebuilt."""
_TABLES = f"""
CREATE TABLE folders (name TEXT PRIMARY KEY, stamp TEXT) WITHOUT ROWID;
CREATE TABLE entries (id INTEGER PRIMARY KEY, name TEXT, revision INTEGER, stamp TEXT, row TEXT, checksum INTEGER);
CREATE TABLE stacks (entry INTEGER PRIMARY KEY, takes TEXT, count INTEGER, below INTEGER, stack TEXT, checksum INTEGER);
CREATE TABLE tensors (hash INTEGER, entry INTEGER, PRIMARY KEY (hash, entry)) WITHOUT ROWID;
CREATE INDEX entries_by_name ON entries (name, revision);
PRAGMA user_version = {VERSION};
"""
WITHOUT_NETWORK = ("weights", "graph")
"""The families without a reusable network: no layers, or no weights."""
_PATIENCE = 5.0
"""The timeout in seconds while another process writes the index."""
Row = dict[str, Any]
"""The fields of a manifest in a row of the index."""


def joined(values: Iterable[object]) -> bytes:
    """Return the bytes over which the checksum of a row's values is computed."""
    return " ".join(map(str, values)).encode()


def key(sha256: str) -> int:
    """Return the first 60 bits of a hash, which are indexed; matches must be compared in full."""
    return int(sha256[:15], 16)


def current(catalogue: Catalogue) -> sqlite3.Connection:
    """Open and update the index; rebuild it if that fails, in memory if it cannot be written."""
    for attempt in (_opened, _made):
        with contextlib.suppress(sqlite3.Error, OSError, ValueError):
            return _brought_up_to_date(attempt(catalogue), catalogue)
    return _brought_up_to_date(_with_tables(":memory:"), catalogue)


def _opened(catalogue: Catalogue) -> sqlite3.Connection:
    path = catalogue.inside(catalogue.index)
    if not path.is_file():
        raise FileNotFoundError(path)
    database = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    if database.execute("PRAGMA user_version").fetchone() != (VERSION,):
        database.close()
        raise ValueError("another version")
    return database


def _made(catalogue: Catalogue) -> sqlite3.Connection:
    """Build the index in a temporary file, and rename it into place."""
    sweep(catalogue.temporary)
    temporary = temporary_name(catalogue.temporary / "index")
    try:
        database = _with_tables(temporary)
        _brought_up_to_date(database, catalogue).close()
        for suffix in ("-journal", "-wal", "-shm"):
            catalogue.index.with_name(catalogue.index.name + suffix).unlink(missing_ok=True)
        temporary.replace(catalogue.inside(catalogue.index))
    finally:
        temporary.unlink(missing_ok=True)
    return _opened(catalogue)


def _with_tables(place: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(place, isolation_level=None)
    database.execute("PRAGMA journal_mode = MEMORY")
    database.executescript(_TABLES)
    return database


def _brought_up_to_date(database: sqlite3.Connection, catalogue: Catalogue) -> sqlite3.Connection:
    """Update the index from the changed folders of entries.

    Raises:
        sqlite3.Error, ValueError: the index is damaged.
    """
    known: dict[str, str] = dict(database.execute("SELECT name, stamp FROM folders"))
    there = _stamps(catalogue)
    changed = {} if there == known else {name: stamp for name, stamp in there.items() if known.get(name) != stamp}
    changed |= {name: stamp for name, stamp in there.items() if not stamp}
    gone = [name for name in known if name not in there]
    _require_whole(database)
    if changed or gone:
        database.execute("BEGIN IMMEDIATE")
        for name in gone:
            _forget(database, name, {})
            database.execute("DELETE FROM folders WHERE name = ?", [name])
        for name, stamp in changed.items():
            _read(database, catalogue, name)
            database.execute("INSERT OR REPLACE INTO folders VALUES (?, ?)", [name, stamp])
        database.execute("COMMIT")
    return database


def _stamps(catalogue: Catalogue) -> dict[str, str]:
    """Return a stamp of each entry's folder that changes with it; an empty string if it was modified just now."""
    now, stamps = time.time_ns(), {}
    for folder in catalogue.folders():
        try:
            status = folder.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        written = status.st_mtime_ns
        stamps[folder.name] = f"{status.st_ino} {written}" if now - written > SETTLED else ""
    return stamps


def _require_whole(database: sqlite3.Connection) -> None:
    for row, checksum in database.execute("SELECT row, checksum FROM entries"):
        if zlib.crc32(row.encode()) != checksum:
            raise ValueError("a row of the index is damaged")


def _read(database: sqlite3.Connection, catalogue: Catalogue, name: str) -> None:
    """Read an entry's tags, and its manifests that are not in the index yet."""
    tags = catalogue.tags(name)
    there = {}
    for revision in catalogue.revisions(name):
        with contextlib.suppress(FileNotFoundError):
            status = catalogue.manifest_path(name, revision).stat()
            there[revision] = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
    _forget(database, name, there)
    known = dict(database.execute("SELECT revision, row FROM entries WHERE name = ?", [name]))
    for revision, stamp in there.items():
        named = [tag for tag, number in tags.items() if number == revision]
        if revision in known:
            text = json.dumps(json.loads(known[revision]) | {"named": named})
            values = [text, zlib.crc32(text.encode()), name, revision]
            database.execute("UPDATE entries SET row = ?, checksum = ? WHERE name = ? AND revision = ?", values)
        else:
            _insert(database, catalogue, name, revision, stamp, named)


def _forget(database: sqlite3.Connection, name: str, kept: Mapping[int, str]) -> None:
    """Delete the revisions of an entry whose manifests are missing or were replaced."""
    for number, revision, stamp in database.execute(
        "SELECT id, revision, stamp FROM entries WHERE name = ?", [name]
    ).fetchall():
        if kept.get(revision) != stamp:
            for table, column in (("entries", "id"), ("stacks", "entry"), ("tensors", "entry")):
                database.execute(f"DELETE FROM {table} WHERE {column} = ?", [number])


def _insert(
    database: sqlite3.Connection, catalogue: Catalogue, name: str, revision: int, stamp: str, named: list[str]
) -> None:
    stack: list[object] = []
    try:
        manifest = catalogue.manifest(name, revision)
        row, hashes = listed(manifest), {key(each["sha256"]) for each in manifest.tensors}
        if manifest.family not in WITHOUT_NETWORK:
            count, outputs = len(manifest.layers), len(manifest.outputs)
            layers = stack_text(manifest.layers, manifest.tensors)
            stack = [input_text(manifest.inputs), count, max(0, count - max(1, outputs)), layers]
    except (CkptError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        row, hashes = {"problem": str(error)}, set()
    row = {"name": name, "revision": revision, **row, "named": named}
    text = json.dumps(row)
    values = [name, revision, stamp, text, zlib.crc32(text.encode())]
    number = database.execute(
        "INSERT INTO entries (name, revision, stamp, row, checksum) VALUES (?, ?, ?, ?, ?)", values
    ).lastrowid
    if stack:
        values = [number, *stack, zlib.crc32(joined(stack))]
        database.execute("INSERT INTO stacks VALUES (?, ?, ?, ?, ?, ?)", values)
    database.executemany("INSERT INTO tensors VALUES (?, ?)", [(each, number) for each in hashes])


def listed(manifest: Manifest) -> Row:
    """Return the row of a revision: the fields for filters and sort orders."""
    card = manifest.card
    return {
        "family": manifest.family,
        "parameters": manifest.parameters,
        "layers": len(manifest.layers),
        "bytes": manifest.nbytes,
        "license": card.get("license"),
        "library": card.get("library_name"),
        "task": card.get("pipeline_tag"),
        "tags": list(card.get("tags") or ()),
        "datasets": list(card.get("datasets") or ()),
        "base_model": card.get("base_model"),
        "metrics": {each["name"]: each["value"] for each in card.get("metrics") or ()},
        "created": manifest.created,
    }
