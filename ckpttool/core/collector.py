"""Python's garbage collector of unreachable cycles, which traverses all objects of a process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GROWTH = 1.25
"""Growth of the number of objects since the last full collection that leads to the next; Python has the same rule."""


@dataclass
class _Oldest:
    """The number of objects after the last full collection, and an upper bound of those that were added since.

    `held` is None before the first collection.
    """

    held: int | None = None
    come: int = 0


_oldest = _Oldest()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector while a graph is made, as a context or a decorator.

    Most of the objects that are made meanwhile stay, and a full collection of the objects of TensorFlow and Keras takes
    a tenth of a second. At the end all objects are moved to the oldest generation (by freezing and unfreezing), so that
    they cause no full collection. Python does not count objects that were moved like this, so they are counted here:
    otherwise graphs that are no longer used would never be freed.
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
    """Move all objects to the oldest generation, and run a full collection if they have become many more.

    Counting the objects takes time too, so it is done only if enough may have been added.
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
    """Return an upper bound of the objects that were added since all were moved to the oldest generation.

    Python counts the objects of the youngest generation, and how often each generation was collected.
    """
    youngest, once, twice = gc.get_count()
    size, often = gc.get_threshold()[:2]
    return youngest + size * (once + often * twice)


def _aged() -> int:
    """Move all objects to the oldest generation, and return their number."""
    gc.freeze()
    held = gc.get_freeze_count()
    gc.unfreeze()
    return held
