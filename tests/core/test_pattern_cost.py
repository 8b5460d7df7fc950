"""Patterns that could take unbounded time are rejected before they are tried; those that users write are not."""

import re
import time

import pytest

from ckpttool.core.errors import CkptError
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.patterns import ByPattern, Pattern, renamed
from ckpttool.foreign.rules import Rule

ENDLESS = [
    *("(a+)+", "(a+)+b", "(a*)*", "(a|a)*", "(a|aa)+", r"(\w+\s?)*", "(.*a){20}", r"(\d+)*x", "(a?){30}a{30}"),
    *("(a+b?)+c", "(x+x+)+y", "(?:a+){2,}", "(ab|a|b)*c", "(.+)+", "(?=(a+)+b)", "(a+)+?", "(a?b?)*c", "(?i:(A+a)+)"),
    *("(?:()+a)*xe", "(?:(b?)?a)*xe", "(?:(b?){1,2}a)*xe", "(?:(b*)*a)*xe", r"(?:(\b|)*a)*xe", "(?:(?=a)*a)*xe"),
]
USUAL = [
    *(r"hidden[123]", r"(hidden\d+/)+kernel", "(conv|conv_dw)+", ".*kernel.*", "dense(_[12])?", r"([^/]+/)*kernel"),
    *(r"(?:layer\d+[./])+w", r"(?:[a-z]+_)*[a-z]+", r"encoder/layer_(?:\d|1[01])/.*", "(foo|bar|bazz)+", r"(a{3}b)+"),
    *(r"(?:.*/)?(kernel|bias)(:0)?", "(ab|cd)+", r"(?i)(block\d/)+x", r"(?=.*x)(?!y).*", r"(\d+)/\1"),
    *("(?:(b|)a)*xe", "(?:b*a)*xe", "(b?)*x", r"(?:[a-z]*/)*w"),
]


@pytest.mark.parametrize("text", ENDLESS)
def test_a_pattern_without_end_is_refused(text):
    for use in (compiled, Pattern, lambda text: Rule(text, "x"), lambda text: renamed(["a" * 40 + "c"], {text: "x"})):
        with pytest.raises(CkptError, match="could take years: nested repeats match one text in many ways"):
            use(text)


@pytest.mark.parametrize("text", USUAL)
def test_a_pattern_that_people_write_is_not(text):
    compiled(text)


@pytest.mark.parametrize("text", ["(" * 5000 + ")" * 5000, "(a|b)*" * 2000 + "(a+c)+", "(", "a{99999999999}"])
def test_whatever_is_wrong_is_said_soon(text):
    start = time.process_time()
    with pytest.raises(CkptError):
        compiled(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["(a|b)*" + ".*" * 290, ".*" * 4000])
def test_how_long_a_pattern_takes_is_known_soon(text):
    start = time.process_time()
    with pytest.raises(CkptError, match="could take hours"):
        Pattern(text).matches("ad" * 50)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", ["[[:alpha:]]+", "[a-z--b]", "[a&&b]"])
def test_a_pattern_that_python_will_read_otherwise_is_told_and_not_warned_of(text):
    with pytest.raises(
        CkptError, match=r"is ambiguous: Possible .*, which later versions of Python interpret differently"
    ):
        Pattern(text)
    assert Pattern(text.replace("[[", r"[\[").replace("--", r"\-").replace("&&", "&"))


def test_a_rate_for_a_pattern_without_end():
    with pytest.raises(CkptError, match="could take years"):
        ByPattern.parse("(a+)+=0.1", "`lr`", float)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("a*a*a*a*b", "a" * 500),
        (".*x.*y.*z", "xy" * 2000),
        (".*" * 30 + "x", "a" * 20),
        (".*" * 400, "a" * 100),
        (
            "".join(f"{letter}*{letter}*" for letter in "abcdefghijklmnopqrst"),
            "".join(3 * each for each in "abcdefghijklmnopqrst"),
        ),
        (r"\d*1\d*2\d*3\d*4|.*a.*a.*a.*a", "a" * 1000),
        ("(?:ab|cd)*(?:ab|xd)*q", "ab" * 20_000),
        (r".*a(?:/|(?<=[^/])\.(?=[^/]*\Z))", "a." * 20_000 + "/"),
        ("|".join(f"name{number}" for number in range(2000)) + "|.*.*.*x", "x" * 2000),
    ],
)
def test_powers_of_a_names_length_are_refused_before_they_are_waited_for(pattern, name):
    with pytest.raises(CkptError, match=r"could take hours to match a name of \d+ characters"):
        quick(re.compile(pattern), name)


@pytest.mark.parametrize(
    "pattern",
    [
        ".*",
        r"(.*)/conv(\d+)/(.*)",
        r"hidden\d+",
        "[^/]*/[^/]*/[^/]*/w",
        ".*attention.*(query|key).*kernel.*",
        "x+y+",
        "a*b*",
    ],
)
def test_patterns_of_names_are_matched_with_long_ones(pattern):
    name = "model/encoder/layer_11/attention/self/query/kernel/Momentum" * 8
    assert quick(re.compile(pattern), name) == name


def test_long_names_are_matched_with_patterns_that_are_run_once():
    name = "a/" * 100_000
    assert Pattern(r"b\d+").matches(name[:10_000]) is False
    assert quick(re.compile(r"b\d+/[^/]*"), name) == name
