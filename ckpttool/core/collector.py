"""Python's collector of unreachable cycles, which looks at all that a process holds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GROWTH = 1.25
"""How many times as much may be held as after the last look at all of it, which is Python's own rule."""


@dataclass
class _Oldest:
    """How many objects of the oldest generation were held after the last look at all of them; None before the first."""

    held: int | None = None


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
            _collect_what_grew(_aged())
        if was_enabled:
            gc.enable()


def _aged() -> int:
    """Put all that is held into the oldest generation, and return how many objects that has."""
    gc.freeze()
    held = gc.get_freeze_count()
    gc.unfreeze()
    return held


def _collect_what_grew(held: int) -> None:
    """Look at all that is held where that is much more than it was."""
    if _oldest.held is None:
        _oldest.held = held
    elif held > GROWTH * _oldest.held:
        gc.collect()
        _oldest.held = _aged()
