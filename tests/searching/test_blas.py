"""Eigendecompositions use one thread each, and the number of threads is restored afterwards."""

import numpy as np
import pytest

from ckpttool.searching import blas


def test_one_thread_computes_while_it_is_asked_for() -> None:
    get, _ = blas._threads()
    if get() == 1:
        pytest.skip("NumPy computes with one thread, or with a library whose threads are not known")
    before = get()
    with pytest.raises(ZeroDivisionError), blas.one_thread():
        assert get() == 1
        _ = 1 / 0
    assert get() == before


def test_what_does_not_tell_its_threads_computes_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_OPENBLAS", ())
    blas._threads.cache_clear()
    with blas.one_thread():
        assert np.linalg.eigvalsh(np.eye(3)).tolist() == [1, 1, 1]
    blas._threads.cache_clear()
