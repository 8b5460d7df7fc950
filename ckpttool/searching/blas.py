"""The number of threads of NumPy's linear algebra: one, where more threads would only wait for each other."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from numpy import linalg

_OPENBLAS = ("openblas_{}_num_threads", "openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads64_")
"""The names of OpenBLAS's functions in NumPy's wheels and in other builds."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for linear algebra within this context, if NumPy uses OpenBLAS; otherwise do nothing.

    An eigendecomposition passes small tasks to the threads many times, and OpenBLAS's threads busy-wait for
    them: one with 784 columns takes 0.12 s of CPU time on one thread, 0.5 to 3 s on two, and up to 6 s if other
    programs use the same cores. Threads that each decompose their own matrix do not wait.

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
    """Return functions that return and set the number of threads; for other libraries, they do nothing."""
    with suppress(OSError):
        library = ctypes.CDLL(sys.modules[f"{linalg.__name__}._umath_linalg"].__file__)
        for name in _OPENBLAS:
            if hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return lambda: 1, lambda _count: None
