"""Callbacks: each event is passed to all of them, and the end of a run is reported however it ends."""

from typing import Any

import pytest

from ckpttool.training.callbacks.callback import EVENTS, Callback, CallbackList, Callbacks, accepts_watch


class Recorder(Callback):
    def __init__(self, name: str, calls: list[Any]) -> None:
        for event in EVENTS:
            setattr(self, event, lambda *what, event=event: calls.append((name, event, what)))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_goes_to_all_in_order(event: str) -> None:
    calls: list[Any] = []
    getattr(CallbackList([Recorder("first", calls), Recorder("second", calls)]), event)("what", 7)
    assert calls == [("first", event, ("what", 7)), ("second", event, ("what", 7))]


def test_the_events_are_the_methods_of_a_callback() -> None:
    run = {
        *("on_plan", "on_graph", "on_run_begin", "on_progress", "on_weights", "on_epoch_end", "on_save"),
        *("on_output", "on_run_end"),
    }
    assert run <= set(EVENTS)
    assert all(callable(getattr(Callback(), event)) for event in EVENTS)


def test_a_run_that_fails_has_ended_too() -> None:
    calls: list[Any] = []
    with pytest.raises(RuntimeError), CallbackList(Recorder("one", calls)).run([]):
        raise RuntimeError
    assert [event for _, event, _ in calls] == ["on_run_begin", "on_run_end"]


def test_the_former_name_of_the_parameter() -> None:
    @accepts_watch
    def verb(callbacks: Callbacks = ()) -> list[Callback]:
        return list(CallbackList(callbacks))

    old: Any = verb
    one, two = Callback(), Callback()
    assert (old(watch=one), old(watch=None), verb([one, two]), verb(one)) == ([one], [], [one, two], [one])
