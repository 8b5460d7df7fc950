"""Threads of the linear algebra below NumPy: one, where more of them only wait for one another."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from numpy import linalg

_OPENBLAS = ("openblas_{}_num_threads", "openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads64_")
"""What OpenBLAS's functions are called in NumPy's wheels and elsewhere."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while this lasts, if the library below NumPy is OpenBLAS; else as before.

    An eigendecomposition passes small pieces to the threads many times, and OpenBLAS's wait for them by asking again
    and again: one of 784 columns takes 0.12 s of CPU time on one thread, 0.5 to 3 s on two, and where others compute
    on the same cores up to 6 s. Threads that each decompose a matrix of their own do not wait.

    >>> with one_thread():
    ...     linalg.eigvalsh([[2.0, 0.0], [0.0, 1.0]]).tolist()
    [1.0, 2.0]
    """
    get, put = _threads()
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


@cache
def _threads() -> tuple[Any, Any]:
    """Return the functions that tell and set how many threads there are; none that do anything for other libraries."""
    with suppress(OSError):
        library = ctypes.CDLL(sys.modules[f"{linalg.__name__}._umath_linalg"].__file__)
        for name in _OPENBLAS:
            if hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return lambda: 1, lambda _count: None
