"""A chain of records, oldest first: how an output came to be, each with what a command read and did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.lineage.sources import Source

MOST_RECORDS = 64
"""Records that a chain has at most; the oldest are left out, and counted."""


@dataclass(frozen=True)
class Record:
    """What one command did: its name and arguments, what it read, the edits where it made some, when, with what."""

    command: str
    arguments: tuple[str, ...]
    sources: tuple[Source, ...]
    steps: tuple[str, ...]
    versions: Mapping[str, str]
    date: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Record":
        """Read what `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        sources = tuple(map(Source.from_json, document["sources"]))
        arguments, steps = tuple(map(str, document["arguments"])), tuple(map(str, document["steps"]))
        return cls(
            str(document["command"]), arguments, sources, steps, dict(document["versions"]), str(document["date"])
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {
            "command": self.command,
            "arguments": list(self.arguments),
            "sources": [source.as_json() for source in self.sources],
            "steps": list(self.steps),
            "versions": dict(self.versions),
            "date": self.date,
        }


@dataclass(frozen=True)
class Chain:
    """Records, oldest first, and how many older ones were left out."""

    records: tuple[Record, ...] = ()
    left_out: int = 0

    @classmethod
    def joined(cls, chains: Iterable["Chain"]) -> "Chain":
        """Return the records of several chains, each once, by their dates."""
        records: list[Record] = []
        left_out = 0
        for chain in chains:
            records += [record for record in chain.records if record not in records]
            left_out = max(left_out, chain.left_out)
        return cls(tuple(sorted(records, key=lambda record: record.date)), left_out)

    def then(self, record: Record) -> "Chain":
        """Return the chain with one record more."""
        records = (*self.records, record)
        return Chain(records[-MOST_RECORDS:], self.left_out + max(0, len(records) - MOST_RECORDS))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Chain":
        """Read what `as_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(tuple(map(Record.from_json, document["records"])), int(document["left_out"]))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {"records": [record.as_json() for record in self.records], "left_out": self.left_out}
