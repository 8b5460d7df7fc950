"""Pickles read as opcodes: what is kept of their texts is bounded, and no name is missed."""

import io
import pickle
import tracemalloc
from pathlib import Path

from ckpttool.scanning.pickles import pickle_findings


def found(data: bytes) -> list[str]:
    return [each.what for each in pickle_findings(io.BytesIO(data), Path("x.pt"), "")]


def text(content: str) -> bytes:
    return pickle.BINUNICODE + len(content).to_bytes(4, "little") + content.encode()


def test_texts_that_are_no_names_are_not_kept() -> None:
    data = b"\x80\x04(" + (text("x" * 1_000_000) + pickle.MEMOIZE) * 30 + b"t."
    tracemalloc.start()
    try:
        assert found(data) == []
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_name_that_is_too_long_is_reported_as_unknown() -> None:
    named = {
        name: b"\x80\x04" + text("os") + text(name) + pickle.STACK_GLOBAL + b"." for name in ("system", "n" * 2000)
    }
    assert [found(data) for data in named.values()] == [["os.system"], ["(computed)"]]
