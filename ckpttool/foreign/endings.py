"""Which names end most alike: an index of the words at the ends of names, so that none is held against all others."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

Group = TypeVar("Group")


class Endings(Generic[Group]):
    """Names by their endings, in the groups that they are sought in.

    >>> words = {"layer_0/fc1/kernel": ["layer", "0", "fc", "1"], "layer_1/fc1/kernel": ["layer", "1", "fc", "1"]}
    >>> index = Endings((name, words[name], ["matrices"]) for name in words)
    >>> sorted(index.alike("encoder.layer.0.fc1.weight", ["encoder", "layer", "0", "fc", "1"], ["matrices"]))
    ['layer_0/fc1/kernel']
    >>> sorted(index.alike("fc1.weight", ["fc", "1"], ["matrices"]))  # both share as much
    ['layer_0/fc1/kernel', 'layer_1/fc1/kernel']
    """

    def __init__(self, names: Iterable[tuple[str, Sequence[str], Iterable[Group]]]) -> None:
        """Take names, each with its words and its groups."""
        self._names: dict[tuple[Group, tuple[str, ...]], list[str]] = {}
        self._sets: dict[tuple[frozenset[Group], tuple[str, ...]], frozenset[str]] = {}
        for name, words, groups in names:
            for group in groups:
                for ending in _endings(name, words):
                    self._names.setdefault((group, ending), []).append(name)

    def alike(self, name: str, words: Sequence[str], groups: Iterable[Group]) -> frozenset[str]:
        """Return the names of some groups that share the most words at their ends; none where no word is shared."""
        groups = frozenset(groups)
        for ending in _endings(name, words):
            if found := self._found(groups, ending):
                return found
        return frozenset()

    def _found(self, groups: frozenset[Group], ending: tuple[str, ...]) -> frozenset[str]:
        """Return the names with an ending: one and the same set for all who ask, which costs less to compare."""
        if (groups, ending) not in self._sets:
            found = (self._names.get((group, ending), ()) for group in groups)
            self._sets[groups, ending] = frozenset(same for names in found for same in names)
        return self._sets[groups, ending]


def _endings(name: str, words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the endings of a name, the longest first: the same name is even more; numbers alone do not count.

    >>> list(_endings("fc.0.weight", ["fc", "0"]))
    [('fc.0.weight', '/', 'fc', '0'), ('fc', '0')]
    """
    yield (name, "/", *words)
    yield from (tuple(words[at:]) for at in range(len(words)) if not all(word.isdecimal() for word in words[at:]))
