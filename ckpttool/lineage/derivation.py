"""Derivation: the steps of a plan that made a checkpoint, as a tree down to its source files, and as a list."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERAL = ("merge", "average")
NAMING = ("base", "equals", "like", *SEVERAL)
"""The keys of a step whose values are names of other checkpoints; those in `SEVERAL` have lists."""
ON, AS = "on", "as"
"""The keys that any step may have: the checkpoint on which it works, and the name of its result."""


@dataclass(frozen=True, eq=False)
class Derivation:
    """A file that was opened, or a step of a plan that made a checkpoint from others.

    In the step's table, derivations replace the names of checkpoints; `of` is the one on which the step works, or None
    if it uses only those in the table.
    """

    file: Any = None
    table: Mapping[str, Any] = field(default_factory=dict)
    of: "Derivation | None" = None

    def parts(self) -> Iterator["Derivation"]:
        """Yield the step's inputs; the one on which it works is last, so that a list of steps continues with it."""
        for key in NAMING:
            value = self.table.get(key)
            yield from (value if isinstance(value, list) else [value] if isinstance(value, Derivation) else ())
        if self.of is not None:
            yield self.of


@dataclass(frozen=True)
class Steps:
    """A derivation as a plan: the files, which are named a, b, c ... in this order, and the tables of the steps."""

    files: tuple[Any, ...]
    tables: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, derivation: Derivation) -> "Steps | None":
        """Return the steps that end with a derivation, or None if no list of steps can.

        >>> file = Derivation("a.ckpt")
        >>> half = Derivation(table={"scale": "fc=0.5"}, of=file)
        >>> Steps.of(Derivation(table={"average": [file, half]})).tables
        ({'scale': 'fc=0.5', 'as': 'b'}, {'average': ['a', 'b']})
        """
        return _Listing(derivation).steps()

    def derivation(self) -> Derivation:
        """Return the derivation of the last step's result.

        Raises:
            KeyError, TypeError, IndexError: the steps are malformed.
        """
        known = {
            letters(number): file if isinstance(file, Derivation) else Derivation(file)
            for number, file in enumerate(self.files)
        }
        current = letters(0)
        for table in self.tables:
            named = {key: _named(value, known) if key in NAMING else value for key, value in table.items()}
            on, made = named.pop(ON, current), named.pop(AS, None)
            several = next((table[key] for key in SEVERAL if key in table), None)
            result = made or (several[-1] if several else on)
            known[result] = Derivation(table=named, of=None if several else known[on])
            current = on if "assert" in table and on == current else current if "assert" in table else result
        return known[current]


def _named(value: Any, known: Mapping[str, Derivation]) -> Any:
    return [known[name] for name in value] if isinstance(value, list) else known[value]


class _Listing:
    """Builds a list of steps: keeps the names of checkpoints, and the one on which the next step works."""

    def __init__(self, derivation: Derivation) -> None:
        self._order = list(_in_order(derivation))
        edges = [_same(part) for each in self._order for part in each.parts()]
        self._uses = Counter(edges)
        first = derivation  # a plan begins with the file to which its last step leads back
        while first.file is None:
            first = first.of or [*first.parts()][-1]
        files = (each.file for each in self._order if each.file is not None)
        self._files = list(dict.fromkeys([first.file, *files]))
        self._names = {
            _same(each): letters(self._files.index(each.file)) for each in self._order if each.file is not None
        }
        self._fresh = map(letters, itertools.count(len(self._files)))
        self._current = letters(0)

    def steps(self) -> Steps | None:
        """Return the list, or None if it would not end with the derivation."""
        tables = [self._put(each) for each in self._order if each.file is None]
        ends_so = self._names[_same(self._order[-1])] == self._current
        return Steps(tuple(self._files), tuple(tables)) if ends_so else None

    def _put(self, derivation: Derivation) -> dict[str, Any]:
        """Return the table of a step, and name its result: like its input, unless other steps use that, too."""
        table = {key: self._with_names(value) if key in NAMING else value for key, value in derivation.table.items()}
        before = _same(derivation.of or [*derivation.parts()][-1])
        name = self._names[before]
        if derivation.of is not None and name != self._current:
            table[ON] = name
        if "assert" in table:
            self._uses[derivation] += self._uses[before] - 1
        else:
            if self._uses[before] > 1:
                table[AS] = name = next(self._fresh)
            self._current = name
        self._names[derivation] = name
        return table

    def _with_names(self, value: "Derivation | list[Derivation]") -> str | list[str]:
        return [self._names[_same(each)] for each in value] if isinstance(value, list) else self._names[_same(value)]


def _same(derivation: Derivation) -> Any:
    """Return the identity of a derivation: a file that was opened twice is the same."""
    return derivation if derivation.file is None else derivation.file


def _in_order(derivation: Derivation) -> Iterator[Derivation]:
    """Yield a derivation and all its inputs, each once and after its own inputs."""
    seen: set[Any] = set()
    todo = [(derivation, derivation.parts())]
    while todo:
        each, parts = todo[-1]
        part = next(parts, None)
        if part is None:
            todo.pop()
            yield each
        elif _same(part) not in seen:
            seen.add(_same(part))
            todo.append((part, part.parts()))


def letters(number: int) -> str:
    """Return a, b, ..., z, aa, ab, ...

    >>> letters(0), letters(25), letters(26), letters(702)
    ('a', 'z', 'aa', 'aaa')
    """
    text = ""
    number += 1
    while number:
        number, place = divmod(number - 1, 26)
        text = chr(ord("a") + place) + text
    return text
