"""Patterns made from names: they match exactly these names, and are short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.core.patterns import Pattern

COMPONENT = st.text(alphabet="ab12_.+]^-", min_size=1, max_size=4)
NAMES = st.sets(st.lists(COMPONENT, min_size=1, max_size=3).map("/".join), min_size=2, max_size=12).map(sorted)


@given(NAMES, st.data())
def test_a_pattern_takes_what_it_was_made_of_and_nothing_else(names: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    pattern = Pattern(shortest_pattern(wanted, set(names) - set(wanted)))
    assert [name for name in names if pattern.matches(name)] == sorted(wanted)


@pytest.mark.parametrize(
    ("names", "others", "pattern"),
    [
        (["hidden1/w", "hidden2/w", "hidden3/w", "hidden4/w", "hidden5/w"], ["outputs/w"], "hidden[1-5]"),
        ([f"{kind}_conv{block}_{i}" for block in range(4) for i in (1, 2) for kind in "wb"], [], "[bw]_conv[0-3]_[12]"),
        ([f"layer_{number}/w" for number in range(12)], [], "layer_[0-9]|layer_1[01]"),
        (["net/a/w", "net/b/w", "net/c/w"], ["net/top/w"], "net/[abc]"),
        (["chars", "words"], ["chars/rnn"], "words|chars(?!/)"),
        (["a/w"], ["a/w/Adam"], "a/w(?!/)"),
        (["v1.0/w"], [], "v1[.]0"),
    ],
)
def test_what_is_written_for_names_as_they_are_found(names: list[str], others: list[str], pattern: str) -> None:
    assert shortest_pattern(names, others) == pattern


@pytest.mark.parametrize("names", [["n" * 100_000 + "/w"], [f"{number:0100}" for number in range(500)]])
def test_long_names_and_many_are_listed_as_they_are(names: list[str]) -> None:
    assert shortest_pattern(names) == "|".join(names)
