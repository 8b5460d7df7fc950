"""The characters that one position of a pattern matches: sets over an alphabet of those that patterns distinguish."""

import re
from collections.abc import Callable
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any

_LETTERS = [chr(code) for code in range(256)] + ["\u0416"]
"""The alphabet: one character for each that patterns distinguish; the last stands for all others."""
ALL_LETTERS = (1 << len(_LETTERS)) - 1
"""The set of all letters; sets are integers with a bit for each letter."""


def count_in(letters: int, name: str) -> int:
    """Return the number of a name's characters that are in a set of letters."""
    return sum(letters >> min(ord(sign), 256) & 1 for sign in name)


def letters_of(op: Any, argument: Any, flags: int) -> int:
    """Return the set of letters that an op of one character matches."""
    if op is sre.LITERAL:
        return _literal(argument, flags)
    if op is sre.NOT_LITERAL:
        return ALL_LETTERS & ~_literal(argument, flags)
    if op is sre.IN:
        taken = 0
        for kind, value in argument:
            taken |= _class(kind, value, flags)
        return ALL_LETTERS & ~taken if argument[0][0] is sre.NEGATE else taken
    return ALL_LETTERS


def _class(kind: Any, value: Any, flags: int) -> int:
    """Return the letters of one element of a character class."""
    if kind is sre.LITERAL:
        return _literal(value, flags)
    if kind is sre.RANGE:
        low, high = value
        taken = 0
        for code in range(low, min(high, 255) + 1):
            taken |= _literal(code, flags)
        return taken | (1 << 256 if high > 255 else 0)
    return _category(str(value)) if kind is sre.CATEGORY else 0


def _literal(code: int, flags: int) -> int:
    if not flags & re.IGNORECASE:
        return 1 << min(code, 256)
    return 1 << min(code, 256) | 1 << min(ord(chr(code).swapcase()[0]), 256)


@cache
def _category(name: str) -> int:
    """Return the letters of a category, such as CATEGORY_NOT_DIGIT (a capital D in patterns); the last is in each."""
    tests: dict[str, Callable[[str], bool]] = {"DIGIT": str.isdigit, "SPACE": str.isspace, "WORD": _is_word}
    test = tests[name.rpartition("_")[2]]
    taken = sum(1 << at for at, letter in enumerate(_LETTERS[:256]) if test(letter))
    return (ALL_LETTERS & ~taken if "_NOT_" in name else taken) | 1 << 256


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"
