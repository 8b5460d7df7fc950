"""Python's collector of cycles is as it was once a graph is made, whatever happened meanwhile."""

import gc

import pytest

from ckpttool.core.collector import collector_paused


@collector_paused()
def nested(fails: bool) -> bool:
    with collector_paused():
        pass
    if fails:
        raise ValueError("as a model may be refused")
    return gc.isenabled()


def test_it_is_paused_and_goes_on() -> None:
    assert not nested(fails=False)
    with pytest.raises(ValueError, match="refused"):
        nested(fails=True)
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        assert not nested(fails=False)
        assert not gc.isenabled()
    finally:
        gc.enable()
