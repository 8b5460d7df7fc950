"""The index: a cache of the manifests in SQLite, so that ten thousand are listed as quickly as one.

It is never the truth. Before each use the folders of entries are held against what it knows of them; what differs is
read again, and an index that is missing or damaged is made anew. Where it cannot be written it is made in memory.
"""

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from ckpttool.catalogue.layout import Catalogue
from ckpttool.zoo.fits import Stack
from ckpttool.zoo.index_file import Row, current, joined, key

Answer = TypeVar("Answer")


class Holder(NamedTuple):
    """A revision that may hold some tensors, when it was added, and how many of them it may hold."""

    name: str
    revision: int
    created: str
    shared: int

    @property
    def age(self) -> tuple[str, str, int]:
        """By what revisions are sorted, the oldest first."""
        return self.created, self.name, self.revision


@dataclass(frozen=True)
class Index:
    """The index of a catalogue, as it is now."""

    catalogue: Catalogue
    database: sqlite3.Connection

    @classmethod
    @contextlib.contextmanager
    def of(cls, catalogue: Catalogue) -> Iterator["Index"]:
        """Give the index, after reading what has changed since it was last used."""
        database = current(catalogue)
        try:
            yield cls(catalogue, database)
        finally:
            database.close()

    def rows(self, latest: bool = True) -> list[Row]:
        """Return what is listed of entries, by their names: the latest revision of each, or all of them."""
        found = self.database.execute("SELECT name, revision, row FROM entries ORDER BY name, revision")
        texts = {(name, latest or revision): row for name, revision, row in found}
        rows: list[Row] = json.loads(f"[{','.join(texts.values())}]")  # at once: ten thousand calls take longer
        return rows

    def stacks(self) -> Iterator[Stack]:
        """Yield the stacks of layers of all entries that have a network and values, the latest revision of each.

        Raises:
            ValueError: the index is damaged.
        """
        latest = "SELECT id, name, MAX(revision) AS revision FROM entries GROUP BY name"
        question = (
            f"SELECT name, revision, takes, count, below, stack, checksum FROM ({latest}) JOIN stacks ON entry = id"
        )
        for name, revision, *stack, checksum in self.database.execute(question):
            if zlib.crc32(joined(stack)) != checksum:
                raise ValueError("a stack of the index is damaged")
            yield Stack(name, revision, *stack)

    def holding(self, sha256: Iterable[str]) -> list[Holder]:
        """Return the revisions that may hold tensors of these hashes: those that hold most first, then the oldest."""
        keys = list({key(each) for each in sha256})
        counts, rows = dict[int, int](), dict[int, str]()
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            held = f"SELECT entry, COUNT(*) AS count FROM tensors WHERE hash IN ({_marks(some)}) GROUP BY entry"
            question = f"SELECT id, count, row FROM ({held}) JOIN entries ON entry = id"
            for number, count, row in self.database.execute(question, some):
                counts[number], rows[number] = counts.get(number, 0) + count, row
        listed_rows: list[Row] = json.loads(f"[{','.join(rows.values())}]")
        found = [
            Holder(row["name"], row["revision"], row.get("created", ""), count)
            for row, count in zip(listed_rows, counts.values(), strict=True)
        ]
        return sorted(found, key=lambda each: (-each.shared, each.age))

    def shared(self, sha256: Iterable[str]) -> set[str]:
        """Return those of some hashes that several revisions may hold."""
        whole = {key(each): each for each in sha256}
        keys, found = list(whole), set[str]()
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            question = f"SELECT hash FROM tensors WHERE hash IN ({_marks(some)}) GROUP BY hash HAVING COUNT(*) > 1"
            found.update(whole[key] for (key,) in self.database.execute(question, some))
        return found


def asked(catalogue: Catalogue, question: Callable[[Index], Answer]) -> Answer:
    """Return what the index of a catalogue answers; one that turns out to be damaged meanwhile is made anew."""
    with contextlib.suppress(sqlite3.DatabaseError, ValueError), Index.of(catalogue) as index:
        return question(index)
    catalogue.inside(catalogue.index).unlink(missing_ok=True)
    with Index.of(catalogue) as index:
        return question(index)


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
