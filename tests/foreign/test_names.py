"""Names of other frameworks, of any length: their scopes, words and numbers."""

from ckpttool.foreign.names import counted_words, natural, scope_of, words_of

LONG = 100_000


def test_a_long_name_is_one_word_below_its_scope() -> None:
    assert scope_of("a" * LONG + ".b/") == "a" * LONG + ".b"
    assert words_of("a_1." * LONG) == ["a_1." * LONG]


def test_numbers_of_any_length_are_compared_by_value() -> None:
    names = [f"layer{'9' * 5000}", "layer10", "layer009", "layer"]
    assert sorted(names, key=natural) == names[::-1]
    assert counted_words(["9" * 800, "fc1"]) == {"9" * 800: ["9" * 800], "fc1": ["fc", "1"]}
