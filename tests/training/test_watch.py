"""Watches: each event goes to all of them, and the end is told however a run ends."""

from typing import Any

import pytest

from ckpttool.training.watch import EVENTS, Watch, Watches


class Ear(Watch):
    def __init__(self, name: str, heard: list[Any]) -> None:
        for event in EVENTS:
            setattr(self, event, lambda *what, event=event: heard.append((name, event, what)))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_told_to_all_in_order(event: str) -> None:
    heard: list[Any] = []
    getattr(Watches(Ear("first", heard), Ear("second", heard)), event)("what", 7)
    assert heard == [("first", event, ("what", 7)), ("second", event, ("what", 7))]


def test_the_events_are_what_a_watch_hears() -> None:
    assert {"planned", "started", "began", "advanced", "weights", "finished", "saved", "ended"} <= set(EVENTS)
    assert not any(event.startswith("_") for event in EVENTS)


def test_a_run_that_fails_has_ended_too() -> None:
    heard: list[Any] = []
    with pytest.raises(RuntimeError), Watches(Ear("one", heard)).run([]):
        raise RuntimeError
    assert [event for _, event, _ in heard] == ["began", "ended"]
