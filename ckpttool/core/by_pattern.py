"""Values by pattern: one value for all, or `PATTERN=VALUE` pairs, as options take them."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern

Value = TypeVar("Value")

_SEPARATOR = re.compile(r",(?![^\[({]*[\])}])")
"""A comma that stands in no brackets of a regular expression."""


@dataclass(frozen=True)
class ByPattern(Generic[Value]):
    """Values for names: the value of the first pattern that takes a name, or one value for every name.

    >>> rates = ByPattern.parse("hidden[12]=1e-4, outputs=0.01", "`lr`", float)
    >>> rates.of(["hidden1/kernel", "hidden3/kernel", "outputs/bias"])
    {'hidden1/kernel': 0.0001, 'outputs/bias': 0.01}
    >>> ByPattern.parse("0.1", "`lr`", float).of(["hidden1/kernel"])
    {'hidden1/kernel': 0.1}
    """

    pairs: tuple[tuple[Pattern | None, Value], ...]

    @classmethod
    def parse(cls, text: str, option: str, read: Callable[[str], Value]) -> "ByPattern[Value]":
        """Read an option's text; `read` turns the text of a value into it, and raises ValueError where it is none.

        Raises:
            PlanError: a value cannot be read, or pairs and a value for all are mixed.
        """
        parts = [part.strip() for part in _SEPARATOR.split(text)]
        pairs = tuple(_pair(part, option, read) for part in parts)
        if len(pairs) > 1 and any(pattern is None for pattern, _ in pairs):
            raise PlanError(f"{option} {text!r}: expected one value for all, or PATTERN=VALUE pairs, not both")
        return cls(pairs)

    def of(self, names: Iterable[str]) -> dict[str, Value]:
        """Return the value of each name that has one, in the names' order.

        Raises:
            UnknownName: a pattern takes none of the names.
        """
        names = list(names)
        found: dict[str, Value] = {}
        for pattern, value in self.pairs:
            for name in names if pattern is None else pattern.select(names):
                found.setdefault(name, value)
        return {name: found[name] for name in names if name in found}


def _pair(text: str, option: str, read: Callable[[str], Value]) -> tuple[Pattern | None, Value]:
    pattern, equals, value = text.rpartition("=")
    try:
        return (Pattern(pattern.strip()) if equals else None), read(value.strip())
    except ValueError as error:
        raise PlanError(f"{option} {text!r}: {value.strip()!r} is no value for it") from error
