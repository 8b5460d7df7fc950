"""Numbers in names: one framework counts its layers from 0, another from 1."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress

from ckpttool.foreign.likeness import words_of

Key = tuple[str, ...]
Counted = dict[Key, set[int]]


def aligned(names: Iterable[str], others: Iterable[str]) -> dict[str, list[str]]:
    """Return the words of each name, its numbers counted as in the other names.

    Where one side begins with 0 and the other with 1, and there are not as many on both, a number says nothing: it
    becomes a `?`.

    >>> list(aligned(["block.0.fc.weight", "block.1.fc.weight"], ["b1/fc/kernel", "b2/fc/kernel"]).values())
    [['block', '1', 'fc'], ['block', '2', 'fc']]
    """
    words = counted_words(names)
    ours, theirs = _counted(words.values()), _counted(counted_words(others).values())
    shifts = {key: _shift(numbers, theirs.get(key, numbers)) for key, numbers in ours.items()}
    return {name: _renumbered(each, shifts) for name, each in words.items()}


def counted_words(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the words of each name; of names such as W, W_1, W_2 the first has the number 0.

    >>> counted_words(["W", "b", "W_1", "b_1"])
    {'W': ['0'], 'b': ['0'], 'W_1': ['1'], 'b_1': ['1']}
    """
    words = {name: words_of(name) for name in names}
    numbered = any(len(each) == 1 and each[0].isdecimal() for each in words.values())
    return {name: each or ["0"] * numbered for name, each in words.items()}


def by_number(words: Mapping[str, list[str]], others: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """Return names and others that have the same last numbers, where each has its counterpart; else nothing.

    A number that all names of a side have does not count.

    >>> by_number({"W1": ["1"], "W2": ["2"]}, {"fc2/kernel": ["fc", "2"], "fc1/kernel": ["fc", "1"]})
    [('W1', 'fc1/kernel'), ('W2', 'fc2/kernel')]
    """
    numbers = [_telling({name: _digits(each) for name, each in side.items()}) for side in (words, others)]
    count = min(len(each) for side in numbers for each in side.values())
    ours, theirs = ({each[-count:]: name for name, each in side.items()} for side in numbers)
    if count == 0 or len(ours) < len(words) or ours.keys() != theirs.keys() or any("?" in key for key in ours):
        return []
    return [(name, theirs[key]) for key, name in ours.items()]


def _telling(numbers: Mapping[str, Key]) -> Mapping[str, Key]:
    """Return numbers without those that are equal in all names, if names have as many."""
    if len({*map(len, numbers.values())}) > 1 or len(numbers) == 1:
        return numbers
    differ = [len({*column}) > 1 for column in zip(*numbers.values(), strict=True)]
    return {name: tuple(compress(each, differ)) for name, each in numbers.items()}


def _digits(words: Sequence[str]) -> Key:
    return tuple(word for word in words if word.isdecimal() or word == "?")


def _counted(names: Iterable[list[str]]) -> Counted:
    found: Counted = {}
    for words in names:
        for place, key in _numbers(words):
            found.setdefault(key, set()).add(int(words[place]))
    return found


def _numbers(words: list[str]) -> Iterator[tuple[int, Key]]:
    """Yield where numbers are, with the words behind each, or where there are none with the one before it."""
    plain = ["#" if word.isdecimal() else word for word in words]
    for place in (place for place, word in enumerate(plain) if word == "#"):
        behind = plain[place:]
        yield place, tuple(behind if {*behind} != {"#"} else plain[max(0, place - 1) :])


def _shift(ours: set[int], theirs: set[int]) -> int | None:
    """Return what is to be added to our numbers to have theirs, None where a number says nothing."""
    shift = min(theirs) - min(ours)
    if {each + shift for each in ours} == theirs:
        return shift
    return None if {min(ours), min(theirs)} == {0, 1} else 0


def _renumbered(words: list[str], shifts: Mapping[Key, int | None]) -> list[str]:
    new = list(words)
    for place, key in _numbers(words):
        shift = shifts[key]
        new[place] = "?" if shift is None else str(int(words[place]) + shift)
    return new
