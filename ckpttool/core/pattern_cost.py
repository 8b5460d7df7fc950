r"""The cost of matching a pattern: patterns with catastrophic backtracking are refused.

`re` tries all ways to match before it fails: `(a+)+b` needs a second for 25 characters and a year for 50. The time is
exponential if the pattern's automaton has two paths from a state back to itself with the same text. Otherwise it is a
power of the name's length, the fourth for `a*a*a*b`: each repeat can end at many positions of the name, and all
combinations are tried. An upper bound of their number is known before a name is matched.
"""

import re
import sys
import warnings
from functools import lru_cache
from math import exp, lgamma, log, log1p

from ckpttool.core.errors import CkptError
from ckpttool.core.pattern_automaton import (
    MOST_PLACES,
    Automaton,
    Ends,
    has_choice,
    repeats,
    repeats_in_a_row,
    tree_of,
)
from ckpttool.core.pattern_letters import count_in

MOST_CHARACTERS = 200_000
"""Maximum length of a pattern in characters; compiling that takes half a second, and 200 bytes of memory for each."""
LARGE = 10_000
"""Patterns of more characters than this are not analysed, and refused if in doubt."""
LONGEST = 200
"""Maximum number of a pattern's characters in an error message."""
MOST_STEPS = 200_000_000
"""Maximum number of steps of matching one name, which take some seconds."""


@lru_cache(maxsize=1024)
def compiled(text: str) -> re.Pattern[str]:
    r"""Compile a regular expression.

    >>> compiled(r"hidden\d+/kernel").fullmatch("hidden12/kernel") is not None
    True
    >>> compiled(r"(\d+)+")
    Traceback (most recent call last):
    ckpttool.core.errors.CkptError: '(\\d+)+' could take years: nested repeats match one text in many ways

    Raises:
        CkptError: the text is not a regular expression, or matching it could take exponential time.
    """
    shown = repr(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")
    if len(text) > MOST_CHARACTERS:
        raise CkptError(f"{shown} has {len(text)} characters, a pattern has at most {MOST_CHARACTERS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            pattern = re.compile(text)
    except FutureWarning as warning:
        problem = f"{warning}, which later versions of Python interpret differently"
        raise CkptError(
            f"{shown} is ambiguous: {problem}; put \\ before characters that are meant literally"
        ) from warning
    except (re.error, RecursionError, OverflowError) as error:
        raise CkptError(f"{shown} is not a regular expression: {error}") from error
    tree = tree_of(pattern)
    is_doubtful = any(has_choice(repeated) for repeated in repeats(tree))
    if is_doubtful and (len(text) > LARGE or Automaton(tree, pattern.flags).is_endless()):
        raise CkptError(f"{shown} could take years: nested repeats match one text in many ways")
    return pattern


def quick(pattern: re.Pattern[str], name: str, text: str = "") -> str:
    """Return the name, if matching it with the pattern does not take long; `text` is the pattern as the user wrote it.

    >>> quick(re.compile("(.*)/conv(.*)/kernel"), "a/conv/kernel" * 20) is not None
    True

    Raises:
        CkptError: matching could take long.
    """
    if len(name) <= longest(pattern):
        return name
    ends = _ends(pattern)
    ways = ends.most(lambda letters: log1p(count_in(letters, name)))
    in_order = _log_of_choices(len(name), int(ends.most(lambda letters: 1)) + ends.runs)
    if min(ways + ends.runs * log(len(name)), in_order) > log(MOST_STEPS):
        shown = (text or pattern.pattern)[:LONGEST]
        raise CkptError(
            f"{shown!r} could take hours to match a name of {len(name)} characters: its repeats can end at many "
            "places; "
            "use narrower ones, such as [^/]* instead of .*"
        )
    return name


@lru_cache(maxsize=1024)
def longest(pattern: re.Pattern[str]) -> int:
    """Return the length up to which any name is matched quickly; for longer ones `quick` examines the name."""
    ends = _ends(pattern)
    degree = int(ends.most(lambda letters: 1)) + ends.runs
    return max(0, int(exp((log(MOST_STEPS) + lgamma(degree + 1)) / degree)) - degree) if degree > 1 else sys.maxsize


def _log_of_choices(length: int, repeats: int) -> float:
    """Return the logarithm of the number of combinations of positions where consecutive repeats can end in a name."""
    return lgamma(length + repeats + 1) - lgamma(length + 1) - lgamma(repeats + 1)


@lru_cache(maxsize=1024)
def _ends(pattern: re.Pattern[str]) -> Ends:
    """Return where the repeats of a pattern can end; in a large pattern, anywhere."""
    tree = tree_of(pattern)
    count = sum(1 for _ in repeats(tree))
    if not count or count > MOST_PLACES or len(pattern.pattern) > LARGE:
        return Ends.everywhere(repeats_in_a_row(tree))
    return Automaton(tree, pattern.flags).ends()
