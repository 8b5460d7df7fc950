"""Python's cyclic garbage collector is restored after a graph is made, whatever happened meanwhile."""

import gc
import subprocess
import sys
import weakref

import pytest

from ckpttool.core import collector
from ckpttool.core.collector import collector_paused


@collector_paused()
def nested(fails: bool) -> bool:
    with collector_paused():
        pass
    if fails:
        raise ValueError("as a model may be refused")
    return gc.isenabled()


def test_it_is_paused_and_goes_on() -> None:
    assert not nested(fails=False)
    with pytest.raises(ValueError, match="refused"):
        nested(fails=True)
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        assert not nested(fails=False)
        assert not gc.isenabled()
    finally:
        gc.enable()


class Made:
    """An object that is referenced, or references itself."""


def test_what_was_made_is_old_so_that_no_look_at_all_follows() -> None:
    with collector_paused():
        held = [Made() for _ in range(20_000)]
    young = {id(each) for generation in (0, 1) for each in gc.get_objects(generation)}
    assert young.isdisjoint(map(id, held))
    assert gc.get_count()[0] < gc.get_threshold()[0]
    with collector_paused():
        cycle = held.pop()
        cycle.itself = cycle  # type: ignore[attr-defined]
        seen = weakref.ref(cycle)
        del cycle
    gc.collect()
    assert seen() is None, "what nobody reaches is found later"


def test_what_others_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        with collector_paused():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


GROWING = """
import gc, weakref
from ckpttool.core import collector
from ckpttool.core.collector import collector_paused

class Made: pass

made = []
for _ in range(60):
    with collector_paused():
        cycle = Made()
        cycle.itself, cycle.others = cycle, [[] for _ in range(20_000)]
        made.append(weakref.ref(cycle))
        del cycle
    older = [[] for _ in range(1_000)]  # what ages by itself counts too
print(sum(each() is not None for each in made), len(gc.get_objects()))
"""
"""A program that trains repeatedly: it would grow with each graph."""


def test_what_nobody_needs_is_freed_once_much_is_held() -> None:
    """In its own process, because a collection of all objects of other tests takes a second."""
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True)
    left, held = map(int, done.stdout.split())
    assert left < 10 and held < 300_000


def test_what_is_held_is_counted_where_enough_may_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting all objects is as slow as collecting."""
    counted: list[int] = []
    count = collector._aged
    monkeypatch.setattr(collector, "_aged", lambda: (counted.append(count()), counted[-1])[1])
    monkeypatch.setattr(collector, "_oldest", collector._Oldest())
    for _ in range(50):
        with collector_paused():
            pass
    assert len(counted) == 1
