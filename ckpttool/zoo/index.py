"""The index: a cache of the manifests in SQLite, so that ten thousand are listed as quickly as one.

The manifests are authoritative. Before each use the index is compared with the folders of entries, and changed ones are
read again. A missing or damaged index is rebuilt, in memory if it cannot be written.
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
    """A revision that may contain some of the requested tensors: its creation time, and how many it may contain."""

    name: str
    revision: int
    created: str
    shared: int

    @property
    def age(self) -> tuple[str, str, int]:
        """The sort key by age, oldest first."""
        return self.created, self.name, self.revision


@dataclass(frozen=True)
class Index:
    """An up-to-date index of a catalogue."""

    catalogue: Catalogue
    database: sqlite3.Connection

    @classmethod
    @contextlib.contextmanager
    def of(cls, catalogue: Catalogue) -> Iterator["Index"]:
        """Yield the index after updating it, and close it at the end."""
        database = current(catalogue)
        try:
            yield cls(catalogue, database)
        finally:
            database.close()

    def rows(self, latest: bool = True) -> list[Row]:
        """Return the rows of the latest revision of each entry, or of all revisions, sorted by name."""
        found = self.database.execute("SELECT name, revision, row FROM entries ORDER BY name, revision")
        texts = {(name, latest or revision): row for name, revision, row in found}
        rows: list[Row] = json.loads(f"[{','.join(texts.values())}]")  # in one call, which is faster than ten thousand
        return rows

    def stacks(self) -> Iterator[Stack]:
        """Yield the layers of the latest revision of each entry that has a network with weights.

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
        """Return the revisions that may contain tensors with these hashes, sorted by descending number, then by age."""
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
        """Return the hashes that may occur in several revisions."""
        whole = {key(each): each for each in sha256}
        keys, found = list(whole), set[str]()
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            question = f"SELECT hash FROM tensors WHERE hash IN ({_marks(some)}) GROUP BY hash HAVING COUNT(*) > 1"
            found.update(whole[key] for (key,) in self.database.execute(question, some))
        return found


def asked(catalogue: Catalogue, question: Callable[[Index], Answer]) -> Answer:
    """Return the result of a query on the index of a catalogue, which is rebuilt if it proves damaged."""
    with contextlib.suppress(sqlite3.DatabaseError, ValueError), Index.of(catalogue) as index:
        return question(index)
    catalogue.inside(catalogue.index).unlink(missing_ok=True)
    with Index.of(catalogue) as index:
        return question(index)


def _marks(values: Collection[object]) -> str:
    return ",".join("?" * len(values))
