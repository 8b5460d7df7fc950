"""Python's collector of unreachable cycles, which looks at all that a process holds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leave what is in memory alone while a graph is made, as a context or a decorator.

    Most of what is made meanwhile stays, and a look at all that TensorFlow and Keras hold takes a tenth of a second. So
    what was made is old at the end, and brings no such look about: what is thawed goes to the oldest generation.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled and not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
