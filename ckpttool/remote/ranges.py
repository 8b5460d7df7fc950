"""Which bytes of a file are there: stretches that neither touch nor overlap."""

from bisect import bisect_left


class Ranges:
    """Stretches of bytes, ascending.

    >>> there = Ranges()
    >>> there.add(0, 10), there.add(20, 30), there.missing(5, 25), there.behind(30)
    (None, None, [(10, 20)], 10)
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._stretches: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add a stretch, and join it with those that it touches."""
        touched = [each for each in self._stretches if each[0] <= stop and each[1] >= start]
        self._stretches = [each for each in self._stretches if each not in touched]
        joined = min(start, *(each[0] for each in touched), start), max(stop, *(each[1] for each in touched), stop)
        self._stretches.insert(bisect_left(self._stretches, joined), joined)

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the stretches from `start` to `stop` that are not there."""
        found = []
        for begin, end in self._stretches:
            if end > start and begin < stop:
                if begin > start:
                    found.append((start, begin))
                start = end
        return [*found, (start, stop)] if start < stop else found

    def behind(self, at: int) -> int:
        """Return how many bytes are there that end just before a byte."""
        return next((stop - start for start, stop in self._stretches if stop == at), 0)
