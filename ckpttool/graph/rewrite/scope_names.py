"""Unused names for ops that are added to a graph below a scope."""

from collections.abc import Iterable, Sequence


class ScopeNames:
    """The names of a graph's ops and scopes.

    >>> names = ScopeNames(["dense/MatMul", "dense_1/kernel"])
    >>> names.below("", ["dense/MatMul", "dense/Relu", "add"])
    {'dense/MatMul': 'dense_2/MatMul', 'dense/Relu': 'dense_2/Relu', 'add': 'add'}
    """

    def __init__(self, ops: Iterable[str]) -> None:
        """Start with the names of existing ops."""
        self._ops = set[str]()
        self._taken = set[str]()
        self._numbers: dict[str, int] = {}
        for op in ops:
            self._take(op)

    def below(self, scope: str, names: Sequence[str]) -> dict[str, str]:
        """Return and reserve the full names of ops below a scope (`a/`, or empty), by their names.

        If a name is taken, a number is appended to its first part, and to that of all ops with the same first part.
        """
        firsts = dict.fromkeys(_first(name) for name in names)
        taken = dict.fromkeys(_first(name) for name in names if scope + name in self._ops)
        numbered = {first: self._free(scope, first, firsts) for first in taken}
        full = {}
        for name in names:
            first = _first(name)
            full[name] = f"{scope}{numbered.get(first, first)}{name[len(first) :]}"
            self._take(full[name])
        return full

    def one(self, wanted: str) -> str:
        """Return and reserve a name for one op, with a number if the wanted name is taken."""
        name = self._free("", wanted, ()) if wanted in self._ops else wanted
        self._take(name)
        return name

    def _free(self, scope: str, first: str, others: Iterable[str]) -> str:
        number = self._numbers.get(scope + first, 0) + 1
        while f"{scope}{first}_{number}" in self._taken or f"{first}_{number}" in others:
            number += 1
        self._numbers[scope + first] = number
        return f"{first}_{number}"

    def _take(self, name: str) -> None:
        """Reserve a name, and the scopes that contain it."""
        self._ops.add(name)
        while name and name not in self._taken:
            self._taken.add(name)
            name = name.rpartition("/")[0]


def _first(name: str) -> str:
    return name.partition("/")[0]
