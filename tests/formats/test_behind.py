"""A second thread's calls: in order, few waiting, errors told."""

import pytest

from ckpttool.formats.writing.behind import Behind


def test_a_caller_waits_where_too_many_calls_do():
    behind, seen = Behind(most=1), []
    behind.call(lambda: seen.append(sum(range(300_000))))
    behind.call(seen.append, "second")
    assert seen[0] == sum(range(300_000))
    behind.wait()
    assert seen[1:] == ["second"]
    behind.stop()


def test_an_error_is_raised_by_a_later_call():
    behind = Behind(most=1)
    behind.call(int, "seven")
    with pytest.raises(ValueError, match="seven"):
        behind.call(int, "8")
    behind.stop()
