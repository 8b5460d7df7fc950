"""Chains of records: joined, bounded, and there and back as JSON."""

import json

from ckpttool.lineage.chain import MOST_RECORDS, Chain, Record
from ckpttool.lineage.sources import Source

SOURCE = Source("a.ckpt", "bundle", "sha256:00", ("a.ckpt.index",))


def record(day: int, command: str = "edit") -> Record:
    return Record(command, ("a.ckpt", "-o", "b"), (SOURCE,), ("cast float16",), {"numpy": "2"}, f"2026-01-{day:02}")


def test_there_and_back() -> None:
    chain = Chain((record(1), record(2)), 3)
    assert Chain.from_json(json.loads(json.dumps(chain.as_json()))) == chain


def test_chains_that_meet_go_by_date_and_have_each_record_once() -> None:
    joined = Chain.joined([Chain((record(1), record(3))), Chain((record(1), record(2)), 5)])
    assert joined == Chain((record(1), record(2), record(3)), 5)
    assert Chain.joined([]) == Chain()


def test_the_oldest_are_left_out_and_counted() -> None:
    chain = Chain(left_out=1)
    for day in range(MOST_RECORDS + 2):
        chain = chain.then(record(day))
    assert (len(chain.records), chain.records[0], chain.left_out) == (MOST_RECORDS, record(2), 3)
