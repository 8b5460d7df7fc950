"""The layer of a name, and its scopes."""

import pytest

from ckpttool.core.names import by_value, components, layer_of, number_in, scopes_above


@pytest.mark.parametrize(
    ("name", "layer"), [("hidden1/kernel", "hidden1"), ("a/b/c/gamma", "a/b/c"), ("W", "W"), ("", "")]
)
def test_a_layer_is_the_scope_of_a_variable(name: str, layer: str) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize("name", ["a/" * 100_000 + "w", "a" * 100_000 + "/w", "." * 100_000])
def test_few_scopes_are_counted_above_a_name_of_any_depth(name: str) -> None:
    above = scopes_above(name)
    assert len(above) <= 101 and above[-1] == name and max(map(len, above[:-1]), default=0) < 1000
    assert "".join(components(name)) == name


@pytest.mark.parametrize("text", ["", "\u00b2", "\u0663", "-1", "1.0", "9" * 19, "9" * 5000])
def test_what_is_not_the_number_of_anything(text: str) -> None:
    assert number_in(text) is None


def test_parts_of_names_by_value() -> None:
    parts = ["", "\u00b2", "7", "08", "10", "9" * 5000]
    assert sorted([*parts[3:], *parts[:3]], key=by_value) == parts
