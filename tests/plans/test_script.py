"""Parsing of plans: sources, variables, steps, loops; and rejected plans."""

from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, FormatError, PlanError, UnknownName
from ckpttool.plans.script import Entry, Script

STEPS = [{"drop": "x"}]


def test_a_plan_is_read_with_its_paths_beside_it(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text('[sources]\nbase = "base.ckpt"\n[variables]\nwidth = 3\n[[step]]\nrename = "a=>b"\n')
    script = Script.read(path)
    assert script.sources == {"base": tmp_path / "base.ckpt"}
    assert script.variables == {"width": 3}
    assert script.steps == (Entry({"rename": "a=>b"}, f"{path}, step 1 (line 5)"),)


def test_what_is_given_comes_before_what_the_plan_has():
    script = Script.of({"sources": {"base": "old.ckpt", "tuned": "t.ckpt"}, "step": [{"drop": "x"}]})
    assert script.given([]) == {"base": Path("old.ckpt"), "tuned": Path("t.ckpt")}
    assert script.given([Path("new.ckpt")]) == {"base": Path("new.ckpt"), "tuned": Path("t.ckpt")}
    unnamed = Script.of({"step": [{"drop": "x"}]})
    assert unnamed.given([Path("x"), Path("y")]) == {"a": Path("x"), "b": Path("y")}


def test_a_source_has_a_path_a_hash_or_both():
    script = Script.of({"sources": {"a": {"path": "a.npz", "sha256": "12"}, "b": {"sha256": "34"}}, "step": STEPS})
    assert (script.sources, script.hashes) == ({"a": Path("a.npz"), "b": None}, {"a": "12", "b": "34"})
    for wrong in ({"path": "a.npz", "sha512": "12"}, {"path": 1}, {"sha256": []}, 3):
        with pytest.raises(FormatError, match="expected sources = "):
            Script.of({"sources": {"a": wrong}, "step": STEPS})


def test_sources_that_are_missing_or_too_many_are_named():
    named = Script.of({"sources": ["base", "tuned"], "step": [{"drop": "x"}]})
    with pytest.raises(PlanError, match="no path is given for tuned"):
        named.given([Path("x")])
    with pytest.raises(PlanError, match="3 sources are given, it has 2: base, tuned"):
        named.given([Path("x")] * 3)
    with pytest.raises(PlanError, match="no path is given for a source"):
        Script.of({"step": [{"drop": "x"}]}).given([])


def test_variables_keep_their_type_alone_and_are_text_within_text():
    entry = Entry({"shape": ["?", "{width}"], "rename": "l{width}=>x{2,3}", "count": 3})
    assert entry.filled({"width": 7}).table == {"shape": ["?", 7], "rename": "l7=>x{2,3}", "count": 3}
    with pytest.raises(UnknownName, match=r"step 1: \{widht\} is neither .*; nearest: width"):
        Entry({"drop": "{widht}"}, "step 1").filled({"width": 7})


def test_a_loop_goes_over_matches_once_each_and_numbers_in_their_order():
    names = [f"net/layer_{n}/{of}" for n in (10, 2, 1) for of in ("kernel", "bias")] + ["net/layer_2x/w"]
    entry = Entry({"for": "{scope}/layer_{i}", "rename": "{scope}/layer_{i}=>b{i}"})
    done = [each.table["rename"] for each in entry.unrolled(names, {"scope": "net"})]
    assert done == ["net/layer_1=>b1", "net/layer_2=>b2", "net/layer_10=>b10", "net/layer_2x=>b2x"]
    pairs = Entry({"for": "{a}/{b}", "drop": "{a}{b}"})
    assert [each.table["drop"] for each in pairs.unrolled(["x/y/z", "u/v"], {})] == ["uv", "xy"]
    twice = Entry({"for": "{a}/{a}", "drop": "{a}"})
    assert [each.table["drop"] for each in twice.unrolled(["x/y", "u/u"], {})] == ["u"]


@pytest.mark.parametrize("template", ["layer", 3, "{known}"])
def test_a_loop_needs_a_name_of_its_own(template):
    with pytest.raises(PlanError, match="expected a pattern with a new name in braces"):
        list(Entry({"for": template, "drop": "x"}).unrolled(["layer"], {"known": 1}))


def test_a_loop_whose_name_has_no_value_in_an_alternative():
    with pytest.raises(PlanError, match="matches names without a value of each name in braces"):
        list(Entry({"for": "layer_{i}|head", "drop": "{i}"}).unrolled(["layer_1/kernel", "head/kernel"], {}))


def test_a_loop_that_matches_nothing_has_the_nearest_names():
    with pytest.raises(UnknownName, match="matches nothing; nearest: layer_1"):
        list(Entry({"for": "layr_{i}", "drop": "x"}).unrolled(["layer_1/w"], {}))


def test_a_loop_that_takes_time_without_end_is_refused():
    with pytest.raises(CkptError, match="could take years"):
        list(Entry({"for": "(a+)+{i}b", "drop": "x"}).unrolled(["a" * 40], {}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 3", "expected a table for each step"),
        ("", "expected a table for each step"),
        ("[[step]]\ndrop='x'\n[other]", "other has no meaning in a plan"),
        ("sources=[1]\n[[step]]\ndrop='x'", "expected sources = "),
        ("variables=[1]\n[[step]]\ndrop='x'", r"expected numbers and texts in \[variables\]"),
        ("[variables]\nx=true\n[[step]]\ndrop='x'", r"expected numbers and texts in \[variables\]"),
        ("[[step", "not valid TOML"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, text, message):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        Script.read(path)


def test_a_plan_that_is_not_there_or_a_folder(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CkptError, match=str(path)):
            Script.read(path)
