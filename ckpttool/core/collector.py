"""Python's collector of unreachable cycles, which looks at all that a process holds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leave what is in memory alone while a graph is made, as a context or a decorator.

    Most of what is made meanwhile stays, and a look at all that TensorFlow and Keras hold takes a tenth of a second.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
