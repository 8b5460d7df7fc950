"""Suggestions: the known names nearest to an unknown one, for the ends of error messages."""

import re
from collections.abc import Collection, Iterable

from ckpttool.core.names import scopes_above

MOST_SUGGESTED = 10
"""The number of unknown names in a list for which the nearest names are suggested."""
LONGEST_WANTED = 1000
"""The maximum length of an unknown name that is compared with known ones."""


class Suggestions:
    """Suggestions of the nearest names for several unknown names.

    Only the first few get one: each is compared with all known names, which would take hours for two files of thousands
    of tensors without a common name.

    >>> nearest = Suggestions(["hidden1/kernel"], most=1)
    >>> nearest.of("hiden1"), nearest.of("hiden1")
    ('; nearest: hidden1, hidden1/kernel', '')
    """

    def __init__(self, names: Iterable[str], most: int = MOST_SUGGESTED) -> None:
        """Store the known names, and the number of suggestions to make."""
        self._names = names
        self._left = most

    def of(self, wanted: str) -> str:
        """Return `suggestion` of a name, or an empty string once enough have been made."""
        self._left -= 1
        return suggestion(wanted, self._names) if self._left >= 0 else ""


def suggestion(wanted: str, names: Iterable[str]) -> str:
    """Return `; nearest: a, b` for an unknown name, or an empty string if no name is near.

    >>> suggestion("hiden1", ["hidden1/kernel", "outputs/bias"])
    '; nearest: hidden1, hidden1/kernel'
    """
    candidates = dict.fromkeys(scope for name in names for scope in scopes_above(name))
    literal = re.sub(r"[\\^$.|?*+()\[\]{}]", "", wanted)
    nearest = near_names(literal, candidates, 3)
    return f"; nearest: {', '.join(nearest)}" if nearest else ""


def near_names(wanted: str, names: Collection[str], most: int, similarity: float = 0.5) -> list[str]:
    """Return the names most similar to an unknown name, with at least a similarity between 0 and 1.

    >>> near_names("hiden1", ["hidden1", "outputs"], 3)
    ['hidden1']
    """
    if len(wanted) > LONGEST_WANTED:
        return []
    import difflib  # slow to import, and only errors have suggestions

    return difflib.get_close_matches(wanted, names, n=most, cutoff=similarity)
