"""Attentions found by the names of their layers."""

import tracemalloc

from ckpttool.foreign.joint import attentions


def test_the_scopes_of_a_very_deep_name_are_not_listed() -> None:
    deep = "a." * 20_000 + "weight"
    tracemalloc.start()
    try:
        assert not list(attentions({deep: (8, 8)}))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
