"""YAML of cards: equal to unmodified PyYAML, except for rejected features; and writing."""

import random
from typing import Any

import pytest
import yaml

from ckpttool.core.yaml_text import dumps, loads

READ = [
    "license: mit\n",
    "a:\n  b: 1\n  c:\n  - x\n  - y: 2\n    z: [1, 2.5, 'q, r', {k: v, w: }]\n",
    "a: |\n  one\n  two\n\nb: >-\n  long\n  text\n\n  para\nc: 'it''s # no'\nd: \"x\\u00e9\\n\" # c\n",
    "a: long plain\n  continued here\nb: 2\n",
    "- a\n-\n  b: 1\n- - c\n  - d\n",
    'a: "multi\n  line"\nb: [a,\n  b]\n',
    "language:\n- en\n- fr\nx: https://a.b/c#d\ny: a#b\n",
    "k: -5\nl: .5\nm: 1e3\no: null\np: ~\nq:\nr: true\n",
    "co2_eq_emissions:\n  emissions: 1.2\n  source: code carbon\nwidget:\n- src: https://x\n  t: T\n- u: 'a: b'\n",
    "a: |+\n  x\n\nb: 1\n",
    "'quoted key': 1\n\"k2\": 2\n",
    "a:\n    - b\n    - c\nd: e\n",
    "# a comment\na: {x: 1, y: [2, 3]} # another\n",
]


@pytest.mark.parametrize("text", READ)
def test_what_is_read_is_what_others_read(text: str) -> None:
    assert loads(text) == yaml.safe_load(text)
    assert loads(text.replace("\n", "\r\n")) == yaml.safe_load(text)


def test_what_versions_of_yaml_read_differently_is_a_text() -> None:
    assert loads("language: no\nwhen: 2026-11-29\nswitch: on\n") == {
        "language": "no",
        "when": "2026-11-29",
        "switch": "on",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1\nb: *x\n", "anchors"),
        ("a: !!python/object:os.system x\n", "anchors, tags"),
        ("a: 1\na: 2\n", "twice"),
        (" a: 1\nb: 2\n", "line"),
        ("a: b: c\n", "line 1: mapping values are not allowed"),
        ("a: [\n", "line 2"),
        ("a: [1 2, {b}\n", "line 2"),
        ('a: "b\n', "unexpected end of stream"),
        ("\ta: 1\n", "cannot start any token"),
        ("a: 1\n---\nb: 2\n", "single document|another document"),
        ("- a\nb: 1\n", "line"),
        ("".join("  " * depth + "- x:\n" for depth in range(60)), "levels deep"),
        ("a: " + "[" * 60, "levels deep"),
        ("a: '" + "x" * (1 << 17) + "'", "characters"),
        ('a: "\\ud800"', "not a valid character"),
    ],
)
def test_what_is_more_or_none_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loads(text)


def test_what_is_written_is_read_as_the_same_by_all() -> None:
    drawn = random.Random(0)

    def text() -> str:
        return "".join(
            drawn.choice("ab:#-'\"[]{}, \n\té\u2028\x7f😀?&*!|>%@`~01.yn") for _ in range(drawn.randrange(8))
        )

    def value(depth: int = 0) -> Any:
        kind = drawn.random() if depth < 4 else 1.0
        if kind < 0.25:
            return {text() or "k": value(depth + 1) for _ in range(drawn.randrange(4))}
        if kind < 0.5:
            return [value(depth + 1) for _ in range(drawn.randrange(4))]
        return drawn.choice([text(), drawn.randrange(-99, 99), drawn.random(), 1e-7, 3e20, None, True, False])

    for _ in range(500):
        whole = {text() or "k": value() for _ in range(3)}
        assert yaml.safe_load(dumps(whole)) == whole
        assert loads(dumps(whole)) == whole
