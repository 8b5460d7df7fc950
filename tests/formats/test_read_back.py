"""A second thread's calls: in order, few waiting, errors told."""

import pytest

from ckpttool.formats.writing.read_back import BackgroundWriter


def test_a_caller_waits_where_too_many_calls_do():
    writer, seen = BackgroundWriter(most=1), []
    writer.call(lambda: seen.append(sum(range(300_000))))
    writer.call(seen.append, "second")
    assert seen[0] == sum(range(300_000))
    writer.wait()
    assert seen[1:] == ["second"]
    writer.stop()


def test_an_error_is_raised_by_a_later_call():
    writer = BackgroundWriter(most=1)
    writer.call(int, "seven")
    with pytest.raises(ValueError, match="seven"):
        writer.call(int, "8")
    writer.stop()
