"""A lineage as a plan: records of later sources come first, other sources are the plan's inputs."""

import pytest

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.lineage.records import Chain, Record, Source
from ckpttool.lineage.replaying import Begin, replayed

BASE, MADE = Source("base.ckpt", "bundle", "sha256:1", ("x",)), Source("made.npz", "npz", "sha256:2", ("y",))


def record(command, sources, step, makers=(), date="1"):
    plan = None if step is None else {"sources": list(range(len(sources))), "step": step}
    return Record(command, (), tuple(sources), (), {}, date, None, tuple(makers), plan)


def test_steps_of_records_follow_one_another():
    first = record("edit", [BASE], [{"drop": "x"}])
    second = record("convert", [MADE], [], [first.id], "2")
    third = record("merge", [MADE, BASE], [{"merge": ["a", "b"]}], [second.id, None], "3")
    steps = replayed(Chain((first, second, third)))
    assert (steps.files, steps.tables) == ((Begin(BASE),), ({"drop": "x", "as": "b"}, {"merge": ["b", "a"], "as": "c"}))


def test_what_no_step_makes_is_where_a_plan_begins():
    first = record("finetune", [BASE], None)
    second = record("edit", [MADE], [{"drop": "x"}], [first.id], "2")
    assert replayed(Chain((first, second))).files == (Begin(MADE, "finetune"),)
    with pytest.raises(PlanError, match="made by finetune, which is not a step"):
        replayed(Chain((first,)))


def test_a_record_goes_through_json():
    made = record("edit", [BASE], [{"drop": "x"}], ["abc"])
    again = Record.from_json(made.as_json())
    assert (again, again.id) == (made, made.id)


def test_steps_that_are_none():
    with pytest.raises(FormatError, match="the steps of edit are not valid"):
        replayed(Chain((record("edit", [BASE], [{"drop": "x", "on": "q"}]),)))
    with pytest.raises(PlanError, match="no history"):
        replayed(Chain())
    first = record("edit", [BASE], [{"drop": "x"}])
    compared = record("apply", [BASE, MADE], [{"assert": "fc", "equals": "b"}], [None, first.id], "2")
    with pytest.raises(PlanError, match="no order of its steps ends with the one that makes it"):
        replayed(Chain((first, compared)))
