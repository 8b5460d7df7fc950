"""Short patterns that match given names and no others."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from ckpttool.core.names import components

Spelling = tuple[frozenset[str], ...]
"""Names of equal length: the possible characters at each position."""
Components = Sequence[str]
"""The components of a name; all but the first start with the separator before them."""
LONGEST_NAME = 1000
FOLDED_LIMIT = 4_000_000
"""The maximum sum of the squared lengths of components that are compared with each other, for a second of work."""


def shortest_pattern(names: Iterable[str], others: Iterable[str] = ()) -> str:
    """Return a short pattern that matches names and none of the others.

    A scope whose names are all wanted stands for them; names that differ in one character share a character class.
    Names are listed as they are if one is longer than `LONGEST_NAME`, and components if they exceed `FOLDED_LIMIT`.

    >>> shortest_pattern(["hidden1/kernel", "hidden1/bias", "hidden2/kernel", "outputs/kernel"])
    'hidden[12]|outputs'
    >>> shortest_pattern(["dnn/dense/w", "dnn/dense_1/w", "dnn/dense_2/w", "wide/w"], others=["dnn/outputs/w"])
    'wide|dnn/dense(_[12])?'
    >>> shortest_pattern([f"net/block{block}/{layer}" for block in range(5) for layer in "ab"], others=["net/block4/c"])
    'net/(block[0-3]|block4/[ab])'
    """
    names = list(names)
    if max(map(len, names), default=0) > LONGEST_NAME:
        return "|".join(map(_literal, names))
    wanted, unwanted = ([components(name) for name in some] for some in (names, others))
    return "|".join(_alternatives(wanted, unwanted))


def _alternatives(wanted: Iterable[Components], unwanted: Iterable[Components]) -> list[str]:
    """Return the patterns for the wanted names of one scope: subscopes that are wanted whole, then parts of others."""
    chosen, left = _by_first(wanted), _by_first(unwanted)
    texts = _folded([scope for scope in chosen if scope not in left])
    parts: dict[str, list[str]] = {}
    for scope in chosen.keys() & left.keys():
        separators = {rest[0][0] for rest in left[scope] if rest}
        for sign in sorted(separators | {rest[0][0] for rest in chosen[scope] if rest}):
            if inside := _alternatives(_after(sign, chosen[scope]), _after(sign, left[scope])):
                parts.setdefault(f"{_class(frozenset(sign))}{_one_of(inside)}", []).append(scope)
        if [] in chosen[scope]:  # the name of both a tensor and a scope that is not wanted
            parts.setdefault(f"(?!{_class(frozenset(separators))})", []).append(scope)
    return texts + [f"{_one_of(_folded(sorted(scopes)))}{inside}" for inside, scopes in sorted(parts.items())]


def _after(separator: str, names: Iterable[Components]) -> list[Components]:
    """Return names whose first component starts with a separator, without that separator."""
    return [(name[0][1:], *name[1:]) for name in names if name and name[0][0] == separator]


def _by_first(names: Iterable[Components]) -> dict[str, list[Components]]:
    below: dict[str, list[Components]] = {}
    for first, *rest in names:
        below.setdefault(first, []).append(rest)
    return below


def _one_of(alternatives: Sequence[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else f"({'|'.join(alternatives)})"


def _folded(names: Sequence[str]) -> list[str]:
    """Return patterns for single components: `dense`, `dense_1` and `dense_2` become `dense(_[12])?`."""
    if sum(len(name) ** 2 for name in names) > FOLDED_LIMIT:
        return [_literal(name) for name in names]
    spellings: list[Spelling] = [tuple(frozenset(character) for character in name) for name in names]
    while (fewer := _with_classes(spellings)) != spellings:
        spellings = fewer
    texts = dict.fromkeys("".join(map(_class, spelling)) for spelling in spellings)
    endings: dict[str, list[str]] = {}
    for text in texts:
        for stem in (text[:at] for at, character in enumerate(text) if character == "_"):
            if stem in texts:
                endings.setdefault(stem, []).append(text.removeprefix(stem))
    taken = {stem + ending for stem, several in endings.items() for ending in several}
    return [f"{text}({'|'.join(endings[text])})?" if text in endings else text for text in texts if text not in taken]


def _literal(name: str) -> str:
    return "".join(_class(frozenset(character)) for character in name)


def _with_classes(spellings: list[Spelling]) -> list[Spelling]:
    """Merge, from the last position to the first, names that differ in a single letter or digit."""
    for position in reversed(range(max(map(len, spellings), default=0))):
        alike: dict[tuple[object, ...], Spelling] = {}
        for spelling in spellings:
            if position >= len(spelling) or not all(character.isalnum() for character in spelling[position]):
                alike[(spelling,)] = spelling
                continue
            before, characters, after = spelling[:position], spelling[position], spelling[position + 1 :]
            same = alike.get((before, after))
            alike[before, after] = (*before, characters | same[position] if same else characters, *after)
        spellings = list(alike.values())
    return spellings


def _class(characters: frozenset[str]) -> str:
    """Return one character, escaped if it is special, or a class; four or more consecutive ones are a range.

    >>> _class(frozenset("12357")), _class(frozenset("abcde")), _class(frozenset("."))
    ('[12357]', '[a-e]', '[.]')
    """
    if len(characters) == 1:
        (character,) = characters
        return (
            f"[{character}]" if character in ".$*+?{}|()[" else f"\\{character}" if character in "\\^]" else character
        )
    runs = groupby(enumerate(sorted(characters)), key=lambda pair: ord(pair[1]) - pair[0])
    rows = [[character for _, character in run] for _, run in runs]
    return f"[{''.join(''.join(row) if len(row) < 4 else f'{row[0]}-{row[-1]}' for row in rows)}]"
