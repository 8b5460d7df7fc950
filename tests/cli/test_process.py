"""The command line's process: the first signal ends a run cleanly, a second one has its usual effect."""

import os
import signal
import threading
from typing import Any

import pytest

from ckpttool.cli.process import SIGNALS, SignalInterrupt


def handlers() -> list[Any]:
    return [signal.getsignal(each) for each in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_handlers_are_given_back(number: signal.Signals) -> None:
    before = handlers()
    with SignalInterrupt() as interrupt:
        assert interrupt.number is None and not set(handlers()) & set(before)
        os.kill(os.getpid(), number)
        assert (interrupt.number, handlers()) == (number, before)
    assert handlers() == before


def test_without_a_signal_they_are_given_back_at_the_end() -> None:
    before = handlers()
    with pytest.raises(ValueError, match="broken"), SignalInterrupt() as interrupt:
        raise ValueError("broken")
    assert (interrupt.number, handlers()) == (None, before)


def test_another_thread_takes_over_nothing() -> None:
    inside: list[Any] = []

    def run() -> None:
        with SignalInterrupt():
            inside.extend(handlers())

    before = handlers()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == before
