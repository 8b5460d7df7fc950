"""Names for new ops of a graph."""

from collections.abc import Iterable


class FreeNames:
    """Generates unused op names, each once; it does not try the same numbers repeatedly.

    >>> names = FreeNames({"save"})
    >>> [names.free("save"), names.free("save"), names.free("load")]
    ['save_1', 'save_2', 'load']
    """

    def __init__(self, taken: Iterable[str]) -> None:
        """Store the existing names."""
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def free(self, wanted: str) -> str:
        """Return the wanted name, with a number as TensorFlow appends it if the name is taken, and reserve it."""
        name, count = wanted, self._counts.get(wanted, 0)
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count
        self._taken.add(name)
        return name
