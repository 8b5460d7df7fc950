"""Python's collector of unreachable cycles, which looks at all that a process holds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GROWTH = 1.25
"""How many times as much may be held as after the last look at all of it, which is Python's own rule."""


@dataclass
class _Oldest:
    """How many objects were held after the last look at all of them, and at most how many came since.

    `held` is None before the first.
    """

    held: int | None = None
    come: int = 0


_oldest = _Oldest()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leave what is in memory alone while a graph is made, as a context or a decorator.

    Most of what is made meanwhile stays, and a look at all that TensorFlow and Keras hold takes a tenth of a second. So
    what was made is old at the end, and brings no such look about: what is thawed goes to the oldest generation. Python
    does not count that, so it is counted here: graphs that nobody needs any more would be held for good.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled and not gc.get_freeze_count():
            _age()
        if was_enabled:
            gc.enable()


def _age() -> None:
    """Put all that is held into the oldest generation, and look at all of it where that is much more than it was.

    To count what is held takes as long as a look at it, so it is done when enough may have come since.
    """
    _oldest.come += _young()
    if _oldest.held is None:
        _oldest.held, _oldest.come = _aged(), 0
    elif _oldest.come <= (GROWTH - 1) * _oldest.held:
        gc.freeze()
        gc.unfreeze()
    elif (held := _aged()) > GROWTH * _oldest.held:
        gc.collect()
        _oldest.held, _oldest.come = _aged(), 0
    else:
        _oldest.come = max(0, held - _oldest.held)


def _young() -> int:
    """Return at most how many objects came since all were put into the oldest generation.

    Python counts the youngest, and how often these became older.
    """
    youngest, once, twice = gc.get_count()
    size, often = gc.get_threshold()[:2]
    return youngest + size * (once + often * twice)


def _aged() -> int:
    """Put all that is held into the oldest generation, and return how many objects that has."""
    gc.freeze()
    held = gc.get_freeze_count()
    gc.unfreeze()
    return held
