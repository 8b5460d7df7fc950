"""A pattern as a Glushkov automaton: its positions, each of which matches a character, and which can follow which.

It is made from the parse tree of `re`, which is private to `re` and used here and in `pattern_letters.py` alone.
"""

import re
from collections.abc import Callable, Iterator
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from ckpttool.core.pattern_letters import ALL_LETTERS, letters_of

COPIES = 3
"""Subpatterns with at most this many repetitions are unrolled; more repetitions count as unbounded."""
MOST_PLACES = 300
"""Maximum number of positions of a pattern with nested repeats; no pattern for names needs more."""
MOST_PAIRS = 1_000_000
"""Maximum number of pairs of positions that are searched, which takes a second; names need a thousandth."""
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


def tree_of(pattern: re.Pattern[str]) -> Any:
    """Return the parse tree of a pattern: pairs of an op and its argument, which can contain trees."""
    return _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)


def repeats(tree: Any) -> Iterator[Any]:
    """Yield the subtrees of a pattern that are repeated more than `COPIES` times."""
    for op, argument in tree:
        if op in _REPEATS and argument[1] > COPIES:
            yield argument[2]
        for part in _parts(op, argument):
            yield from repeats(part)


def has_choice(tree: Any) -> bool:
    """Return whether a subtree contains a repeat or an alternative."""
    return any(op in (*_REPEATS, sre.BRANCH) or any(map(has_choice, _parts(op, argument))) for op, argument in tree)


def repeats_in_a_row(tree: Any) -> int:
    """Return the largest number of repeats, consecutive or nested, on one path through a pattern."""
    return sum(
        max(map(repeats_in_a_row, _parts(op, argument)), default=0) + (op in _REPEATS and argument[1] > COPIES)
        for op, argument in tree
    )


def _parts(op: Any, argument: Any) -> list[Any]:
    """Return the subtrees of an op."""
    if op in (*_REPEATS, sre.SUBPATTERN, sre.ASSERT, sre.ASSERT_NOT):
        return [argument[-1]]
    if op in (sre.BRANCH, sre.GROUPREF_EXISTS):
        return [part for part in (argument[1] if op is sre.BRANCH else argument[1:]) if part is not None]
    return [argument] if op is sre.ATOMIC_GROUP else []


class Ends(NamedTuple):
    """Where the repeats of a pattern can end, for each of its positions.

    `letters` are those with which a repeat that ends at the position can either continue or end, 0 if no repeat ends
    there. `after` are the positions that follow. `runs` is how often a name is scanned for each combination of ends:
    once by the last repeat, and once for each lookahead with a repeat.
    """

    letters: list[int]
    after: list[list[int]]
    runs: int

    @classmethod
    def everywhere(cls, repeats: int) -> "Ends":
        """Return the ends of consecutive repeats, each of which can end anywhere."""
        return cls([ALL_LETTERS] * repeats, [[place + 1] for place in range(repeats - 1)] + [[]], 1)

    def most(self, weigh: Callable[[int], float]) -> float:
        """Return the largest sum of the repeats' weights, by their letters, over all paths through the pattern."""
        best = [0.0] * len(self.letters)
        for place in range(len(best) - 1, -1, -1):
            onward = max((best[each] for each in self.after[place]), default=0.0)
            best[place] = onward + (weigh(self.letters[place]) if self.letters[place] else 0.0)
        return max(best, default=0.0)


class _Part(NamedTuple):
    """A subpattern: whether it can match the empty text, and its first and last positions."""

    empty: bool
    first: frozenset[int]
    last: frozenset[int]


_EMPTY = _Part(True, frozenset(), frozenset())


class Automaton:
    """The positions of a pattern, the characters that each matches, and which position can follow which."""

    def __init__(self, tree: Any, flags: int) -> None:
        """Build the automaton of a pattern's tree; `flags` are the pattern's."""
        self._flags = flags
        self._taken: list[int] = []
        self._following: list[set[int]] = []
        self._twice: set[tuple[int, int]] = set()
        self._is_ambiguous = False
        self._depth = 0
        self._ahead: set[int] = set()
        self._sequence(tree)

    def is_endless(self) -> bool:
        """Return whether a position has two paths back to itself with the same text, or one with the empty text.

        Two paths are followed at once (Weber and Seidl 1991).
        """
        if self._is_ambiguous or len(self._taken) > MOST_PLACES:
            return True
        loops = self._loops()
        within = [[each for each in self._following[at] if loops[each] == loop] for at, loop in enumerate(loops)]
        pairs = iter(range(MOST_PAIRS))
        return any(self._comes_back(place, within, pairs) for place, loop in enumerate(loops) if loop is not None)

    def ends(self) -> Ends:
        """Return where the repeats can end."""
        loops = self._loops()
        letters = [0] * len(self._taken)
        for number, following in enumerate(self._following):
            is_last = all(after <= number or loops[after] != loops[number] for after in following)
            if loops[number] is not None and is_last:
                letters[number] = self._either(loops, loops[number])
        after = [[each for each in following if each > number] for number, following in enumerate(self._following)]
        ahead = len({loops[number] for number in self._ahead} - {None})
        return Ends(letters, after, 1 + (ahead if any(letters) else 0))

    def _loops(self) -> list[int | None]:
        """Return for each position the first position of the repeat that contains it; None if none does."""
        loops: list[int | None] = [None] * len(self._taken)
        for last, following in enumerate(self._following):
            first = min(following, default=last + 1)
            for place in range(first, last + 1):
                loops[place] = first if loops[place] is None else min(first, loops[place] or 0)
        return loops

    def _either(self, loops: list[int | None], loop: int | None) -> int:
        """Return the letters with which a repeat can both continue and end."""
        letters = 0
        for place, of in enumerate(loops):
            if of == loop:
                inside = outside = 0
                for after in self._following[place]:
                    if loops[after] == loop:
                        inside |= self._taken[after]
                    else:
                        outside |= self._taken[after]
                letters |= inside & outside
        return letters

    def _comes_back(self, place: int, within: list[list[int]], pairs: Iterator[int]) -> bool:
        """Follow two paths from a position at once, `within` its loop; return whether both come back after diverging.

        If `pairs` runs out, the answer is True.
        """
        start = (place, place, False)
        seen, left = {start}, [start]
        while left:
            one, other, parted = left.pop()
            for a in within[one]:
                for b in within[other]:
                    if next(pairs, None) is None:
                        return True
                    pair = (a, b, parted or a != b or (one == other and (one, a) in self._twice))
                    if not self._taken[a] & self._taken[b] or pair in seen:
                        continue
                    if pair == (place, place, True):
                        return True
                    seen.add(pair)
                    left.append(pair)
        return False

    def _sequence(self, tree: Any) -> _Part:
        whole = _EMPTY
        for op, argument in tree:
            whole = self._joined(whole, self._part(op, argument))
        return whole

    def _part(self, op: Any, argument: Any) -> _Part:
        if op in _REPEATS:
            return self._repeat(*argument)
        if op in (sre.ASSERT, sre.ASSERT_NOT):
            before = len(self._taken)
            self._sequence(argument[1])
            self._ahead.update(range(before, len(self._taken)))
            return _EMPTY
        if op in (sre.AT, sre.GROUPREF):
            return _EMPTY
        if op is sre.SUBPATTERN:
            return self._group(*argument)
        if parts := [self._sequence(part) for part in _parts(op, argument)]:
            self._is_ambiguous |= sum(part.empty for part in parts) > 1
            first = frozenset[int]().union(*(part.first for part in parts))
            last = frozenset[int]().union(*(part.last for part in parts))
            return _Part(any(part.empty for part in parts) or op is sre.GROUPREF_EXISTS, first, last)
        return self._place(letters_of(op, argument, self._flags))

    def _place(self, letters: int) -> _Part:
        place = frozenset({len(self._taken)})
        self._taken.append(letters)
        self._following.append(set())
        return _Part(False, place, place)

    def _group(self, _: Any, added: int, removed: int, tree: Any) -> _Part:
        flags, self._flags = self._flags, (self._flags | added) & ~removed
        part = self._sequence(tree)
        self._flags = flags
        return part

    def _repeat(self, least: int, most: Any, tree: Any) -> _Part:
        if not most:
            return _EMPTY
        if most > COPIES:
            self._depth += 1
            part = self._sequence(tree)
            self._depth -= 1
            self._is_ambiguous |= part.empty and (most is not sre.MAXREPEAT or self._depth > 0)
            self._follow(part.last, part.first)
            return part._replace(empty=part.empty or not least)
        whole = _EMPTY
        for number in range(most):
            part = self._sequence(tree)
            # within a repeat, `re` tries both to match the empty text once and not at all
            self._is_ambiguous |= part.empty and least != most and self._depth > 0
            whole = self._joined(whole, part._replace(empty=part.empty or number >= least))
        return whole

    def _joined(self, one: _Part, other: _Part) -> _Part:
        self._follow(one.last, other.first)
        first = one.first | other.first if one.empty else one.first
        last = one.last | other.last if other.empty else other.last
        return _Part(one.empty and other.empty, first, last)

    def _follow(self, places: frozenset[int], following: frozenset[int]) -> None:
        for place in places:
            self._twice |= {(place, after) for after in following & self._following[place]}
            self._following[place] |= following
