"""Python's collector of cycles is as it was once a graph is made, whatever happened meanwhile."""

import gc
import weakref

import pytest

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
    """Something that is held, or points to itself."""


def test_what_was_made_is_old_so_that_no_look_at_all_follows() -> None:
    with collector_paused():
        held = [Made() for _ in range(20_000)]
    assert set(map(id, gc.get_objects(generation=2))).issuperset(map(id, held))
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


def test_what_nobody_needs_is_freed_once_much_is_held() -> None:
    """A process that trains again and again would grow by each graph that it has made."""
    made = []
    for _ in range(60):
        with collector_paused():
            cycle = Made()
            cycle.itself, cycle.others = cycle, [[] for _ in range(20_000)]  # type: ignore[attr-defined]
            made.append(weakref.ref(cycle))
            del cycle
    assert sum(each() is not None for each in made) < len(made) / 2
