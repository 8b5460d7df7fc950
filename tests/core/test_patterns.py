"""Values by pattern."""

import pytest

from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.patterns import ByPattern, renamed

NAMES = ["hidden1/kernel", "hidden10/kernel", "outputs/kernel"]


def test_one_value_is_for_all() -> None:
    assert ByPattern.parse("1e-3", "`l1`", float).of(NAMES) == dict.fromkeys(NAMES, 1e-3)


def test_the_first_pattern_that_takes_a_name_decides() -> None:
    values = ByPattern.parse("hidden1=0, hidden.*=0.5", "`l1`", float).of(NAMES)
    assert values == {"hidden1/kernel": 0.0, "hidden10/kernel": 0.5}


def test_commas_and_equal_signs_may_stand_in_a_pattern() -> None:
    assert ByPattern.parse("hidden[0-9]{1,2}=2", "`l1`", float).of(NAMES) == dict.fromkeys(NAMES[:2], 2.0)


@pytest.mark.parametrize("text", ["hidden1=x", "", "0.1, hidden1=2", "hidden1="])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="`l1`"):
        ByPattern.parse(text, "`l1`", float)


def test_a_pattern_that_takes_nothing_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"hiden1.*nearest: hidden1"):
        ByPattern.parse("hiden1=2", "`l1`", float).of(NAMES)


def test_rules_that_repeat_a_name_are_stopped_before_it_fills_the_memory():
    names = ["a"]
    with pytest.raises(PlanError, match=r"rename: .* gives a+ a name of \d+ characters, at most 65536 are given"):
        for _ in range(25):
            names = list(renamed(names, {"(.*)": r"\1\1\1"}))
    long = "a" * 100_000
    assert list(renamed([long], {".*": r"\g<0>"})) == [long]
