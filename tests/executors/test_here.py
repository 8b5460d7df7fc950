"""The executor in this process."""

import os
import signal

import pytest
from executor_conformance import ExecutorTests
from factories import Facts, Squares

from ckpttool.executors.here import Here


class TestHere(ExecutorTests):
    @pytest.fixture
    def executor(self):
        with Here() as executor:
            yield executor


def test_it_computes_where_it_is_asked_and_shares_no_cores():
    with Here() as executor:
        assert executor.submit(Squares(), 3).result() == (9, os.getpid())
        assert executor.submit(Facts(), "threads").result() is None
        assert executor.submit(Facts(), "sigint").result() is False


def test_ctrl_c_is_not_kept_in_a_future():
    class Stops:
        def __call__(self):
            return lambda _item: signal.raise_signal(signal.SIGINT)

    with Here() as executor, pytest.raises(KeyboardInterrupt):
        executor.submit(Stops(), 1)
