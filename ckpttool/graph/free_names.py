"""Names for new ops of a graph."""

from collections.abc import Iterable


class FreeNames:
    """Names that no op has, each given once; the numbers that are taken are not counted through again.

    >>> names = FreeNames({"save"})
    >>> [names.free("save"), names.free("save"), names.free("load")]
    ['save_1', 'save_2', 'load']
    """

    def __init__(self, taken: Iterable[str]) -> None:
        """Begin with the names that ops have."""
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def free(self, wanted: str) -> str:
        """Return the name, numbered as TensorFlow does where it is taken; it is taken then."""
        name, count = wanted, self._counts.get(wanted, 0)
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count
        self._taken.add(name)
        return name
