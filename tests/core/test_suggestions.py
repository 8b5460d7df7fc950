"""Suggestions of known names: comparing takes time with each letter of a name from a file."""

from ckpttool.core.suggestions import near_names, suggestion


def test_very_long_names_are_compared_with_none() -> None:
    assert near_names("n" * 1000, ["n" * 999], 1) == ["n" * 999]
    assert near_names("n" * 1001, ["n" * 999], 1) == [] and suggestion("n" * 1001, ["n" * 999]) == ""
