"""Derivations as the steps of a plan, and back: reused names are kept, and the checkpoint is given where necessary."""

import pytest

from ckpttool.lineage.derivation import Derivation, Steps

A, B, C = Derivation("a.ckpt"), Derivation("b.ckpt"), Derivation("c.ckpt")


def edit(of, text="fc"):
    return Derivation(table={"drop": text}, of=of)


def merge(*parts, **more):
    return Derivation(table={"merge": list(parts), **more})


SHARED = edit(A, "x")
HELD = Derivation(table={"assert": "fc", "equals": B}, of=A)
CASES = {
    "a file": (A, ["a.ckpt"], []),
    "edits": (edit(edit(A, "x"), "y"), ["a.ckpt"], [{"drop": "x"}, {"drop": "y"}]),
    "edits of several": (
        merge(edit(A, "x"), edit(B, "y")),
        ["b.ckpt", "a.ckpt"],
        [{"drop": "x", "on": "b"}, {"drop": "y", "on": "a"}, {"merge": ["b", "a"]}],
    ),
    "a base, and what is made of it": (
        merge(edit(C, "x"), B, base=C),
        ["b.ckpt", "c.ckpt"],
        [{"drop": "x", "on": "b", "as": "c"}, {"merge": ["c", "a"], "base": "b"}],
    ),
    "one of two": (
        merge(SHARED, edit(SHARED, "y")),
        ["a.ckpt"],
        [{"drop": "x"}, {"drop": "y", "as": "b"}, {"merge": ["a", "b"]}],
    ),
    "a file twice": (merge(A, Derivation("a.ckpt")), ["a.ckpt"], [{"merge": ["a", "a"], "as": "b"}]),
    "an assertion": (edit(HELD), ["a.ckpt", "b.ckpt"], [{"assert": "fc", "equals": "b"}, {"drop": "fc"}]),
    "an assertion at the end": (HELD, ["a.ckpt", "b.ckpt"], [{"assert": "fc", "equals": "b"}]),
    "an assertion of what is used on": (
        merge(edit(HELD), B, A),
        ["a.ckpt", "b.ckpt"],
        [{"assert": "fc", "equals": "b"}, {"drop": "fc", "as": "c"}, {"merge": ["c", "b", "a"], "as": "d"}],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_derivations_are_listed_and_read_again(case):
    derivation, files, tables = CASES[case]
    steps = Steps.of(derivation)
    assert (list(steps.files), list(steps.tables)) == (files, tables)
    assert Steps.of(steps.derivation()) == steps


def test_many_steps_are_no_matter():
    derivation = A
    for _ in range(5000):
        derivation = edit(derivation)
    assert len(Steps.of(derivation).tables) == 5000


def test_what_cannot_end_a_list():
    assert Steps.of(Derivation(table={"assert": "fc", "equals": edit(B)}, of=A)) is None


@pytest.mark.parametrize("tables", [[{"merge": ["q"]}], [{"drop": "x", "on": "q"}], [{"merge": 3}], [{"base": [[]]}]])
def test_what_is_no_list_of_steps(tables):
    with pytest.raises((KeyError, TypeError, IndexError)):
        Steps(("a.ckpt",), tuple(tables)).derivation()
