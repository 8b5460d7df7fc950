"""A layout is written as a call; others are rejected with their position."""

import pytest

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.layouts import parse_layout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dense", "dense"),
        ("dense()", "dense"),
        (" flatten(64) ", "flatten(channels=64)"),
        ("flatten(64, height=7, width=7)", "flatten(channels=64, height=7, width=7)"),
        ("depthwise(multiplier=1)", "depthwise"),
        ("batch_norm(1e-5, target_epsilon=1e-3)", "batch_norm(epsilon=1e-05, target_epsilon=0.001)"),
        ("lstm('torch', tf1)", "lstm(source=torch, target=tf1)"),
        ("lstm(torch, tf1, forget_bias=0)", "lstm(source=torch, target=tf1, forget_bias=0)"),
        ("attention(target=keras, source=tf1, heads=8)", "attention(source=tf1, target=keras, heads=8)"),
    ],
)
def test_calls(text: str, shown: str) -> None:
    layout = parse_layout(text)
    assert str(layout) == shown
    assert parse_layout(shown) == layout


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("dens", UnknownName, "no layout dens; known: "),
        ("flatten", PlanError, "flatten needs channels"),
        ("lstm(torch)", PlanError, "lstm needs target"),
        ("flatten(channel=3)", UnknownName, "flatten has no argument 'channel'; nearest: channels"),
        ("flatten(1.5)", PlanError, "at '1.5': expected a whole number"),
        ("flatten('64')", PlanError, "expected a number"),
        ("lstm(1, 2)", PlanError, "expected a name"),
        ("dense(2)", PlanError, "dense takes at most 0 arguments, found 1"),
        ("dense; conv", PlanError, "expected one layout such as flatten(channels=64)"),
        ("x = dense()", PlanError, "expected one layout such as flatten(channels=64)"),
        ("", PlanError, "expected"),
        ("dense(", PlanError, "never closed"),
        ("__import__('os').system('true')", CkptError, "expected a call"),
    ],
)
def test_what_is_no_layout(text: str, error: type[CkptError], message: str) -> None:
    with pytest.raises(error) as raised:
        parse_layout(text)
    assert message in str(raised.value)
