"""Rules: the first that matches wins, each must be used, and no two tensors get one name."""

import pytest

from ckpttool.errors import CkptError, PlanError, UnknownName
from ckpttool.foreign.rules import Rule, parse_rule, rename


def test_the_first_rule_that_matches_wins() -> None:
    rules = [Rule("fc1", "first"), Rule("fc(.)", r"dense\1")]
    assert rename(["fc1/kernel", "fc2/kernel", "other"], rules) == {
        "fc1/kernel": "first/kernel",
        "fc2/kernel": "dense2/kernel",
        "other": "other",
    }


def test_names_with_dots() -> None:
    assert rename(["net.0.weight"], [Rule(r"net\.(\d)\.weight", r"conv\1/kernel")]) == {"net.0.weight": "conv0/kernel"}


def test_an_empty_new_name_leaves_out() -> None:
    assert rename(["fc/kernel", "steps"], [Rule("steps", "")]) == {"fc/kernel": "fc/kernel", "steps": ""}


def test_a_rule_that_is_not_used_is_an_error() -> None:
    with pytest.raises(UnknownName, match="the rule 'fcl' => 'hidden' was used for nothing; nearest: fc1"):
        rename(["fc1/kernel"], [Rule("fcl", "hidden")])
    with pytest.raises(UnknownName, match="used for nothing"):
        rename(["fc1/kernel"], [Rule("fc1", "a"), Rule("fc.", "b")])


def test_two_tensors_of_one_name_are_an_error() -> None:
    with pytest.raises(PlanError, match="a/kernel and b/kernel would both be named c/kernel"):
        rename(["a/kernel", "b/kernel"], [Rule("[ab]", "c")])
    with pytest.raises(PlanError, match="a and b would both be named b"):
        rename(["a", "b"], [Rule("a", "b")])


def test_names_can_be_swapped() -> None:
    assert rename(["a", "b"], [Rule("a", "b"), Rule("b", "a")]) == {"a": "b", "b": "a"}


@pytest.mark.parametrize("text", ["fc1", "=>x", "a=>b=>c", "fc(=>x", r"fc=>\1"])
def test_rules_that_are_not_understood(text: str) -> None:
    with pytest.raises(CkptError):
        parse_rule(text)


def test_an_optional_rule_may_match_nothing() -> None:
    assert rename(["fc1/kernel"], [Rule("conv", "c", optional=True)]) == {"fc1/kernel": "fc1/kernel"}
