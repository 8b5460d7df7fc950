"""Which executor a place selects."""

from importlib.metadata import EntryPoint

import pytest

from ckpttool.core.errors import MissingDependency, PlanError, UnknownName
from ckpttool.executors.here import Here
from ckpttool.executors.registry import open_executor


def test_processes_are_as_many_as_asked_for():
    with open_executor("processes", 3) as executor:
        assert (executor.name, executor.workers) == ("processes", 3)


def test_this_process_is_one_worker():
    assert isinstance(open_executor("here", 1), Here)
    with pytest.raises(PlanError, match=r"`workers` 2: here is this process alone; `on` processes has more"):
        open_executor("here", 2)


@pytest.mark.parametrize("place", ["spark", "spark://host:7077", "", "://", "Ray"])
def test_an_unknown_place_names_those_that_there_are(place):
    with pytest.raises(UnknownName, match=r"no executor is named '(spark||Ray)': there are here, processes"):
        open_executor(place)


def added(monkeypatch, **executors):
    entries = [EntryPoint(name, value, "ckpttool.executors") for name, value in executors.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries)


def test_a_package_adds_one_and_is_given_the_whole_place(monkeypatch):
    added(monkeypatch, noted="factories:open_noted", here="factories:open_noted")
    with open_executor("noted://a:1", 5, 77) as executor:
        assert executor.notes == ("noted://a:1", "5", "77")
    assert isinstance(open_executor("here"), Here)
    assert open_executor("here").notes == ()


@pytest.mark.parametrize("value", ["no_such_package:open", "factories:missing"])
def test_one_that_cannot_be_loaded_is_named(monkeypatch, value):
    added(monkeypatch, noted=value)
    with pytest.raises(MissingDependency, match=rf"the executor noted \({value}\) cannot be loaded: "):
        open_executor("noted")
