"""A second thread's calls: in order, few waiting, errors raised."""

import pytest

from ckpttool.formats.writing.read_back import BackgroundCalls


def test_a_caller_waits_where_too_many_calls_do():
    calls, seen = BackgroundCalls(most=1), []
    calls.call(lambda: seen.append(sum(range(300_000))))
    calls.call(seen.append, "second")
    assert seen[0] == sum(range(300_000))
    calls.wait()
    assert seen[1:] == ["second"]
    calls.stop()


def test_an_error_is_raised_by_a_later_call():
    calls = BackgroundCalls(most=1)
    calls.call(int, "seven")
    with pytest.raises(ValueError, match="seven"):
        calls.call(int, "8")
    calls.stop()
