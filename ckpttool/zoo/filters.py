"""Filters and sort orders for listing entries: `parameters<5M`, `tag=image`, `license!=mit`, `accuracy>0.9`."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import CkptError, UnknownName
from ckpttool.core.suggestions import suggestion

Row = Mapping[str, Any]
FIELDS = {
    **{
        name: name
        for name in ("name", "revision", "family", "parameters", "layers", "created", "library", "base_model")
    },
    **{"size": "bytes", "bytes": "bytes", "license": "license", "licence": "license", "task": "task"},
    **{"pipeline_tag": "task", "tag": "tags", "tags": "tags", "dataset": "datasets", "datasets": "datasets"},
}
"""The fields that can be used, with their keys in a row; metrics can be used by name, too."""
_FILTER = re.compile(r"\s*(?P<field>[^<>=!\s]+)\s*(?P<test><=|>=|!=|<|>|=)\s*(?P<value>.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([kKMGBT]?)(i?)(?:[bB])?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "B": 3, "T": 4}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda found, asked: found < asked,
    "<=": lambda found, asked: found <= asked,
    ">": lambda found, asked: found > asked,
    ">=": lambda found, asked: found >= asked,
    "=": lambda found, asked: found == asked,
}


@dataclass(frozen=True)
class Filter:
    """A condition on one field."""

    field: str
    test: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Parse a filter.

        >>> Filter.parse("parameters<5M")
        Filter(field='parameters', test='<', value='5M')

        Raises:
            CkptError: it has another form.
        """
        match = _FILTER.fullmatch(text)
        if match is None or not match["value"]:
            raise CkptError(
                f"`filters`: {text!r} is not a filter: specify FIELD<VALUE, with one of {', '.join(_TESTS)} or !="
            )
        return cls(match["field"], match["test"], match["value"])

    def passes(self, row: Row) -> bool:
        """Return whether a row satisfies the condition; a row without the field satisfies only `!=`.

        >>> row = {"parameters": 258710, "tags": ["image"], "license": "mit", "metrics": {"accuracy": 0.97}}
        >>> [Filter.parse(text).passes(row) for text in ("parameters<5M", "tag=im*", "license!=MIT", "accuracy>=0.97")]
        [True, True, False, True]
        """
        found = value_of(row, self.field)
        if self.test == "!=":
            return not Filter(self.field, "=", self.value).passes(row)
        if isinstance(found, list):
            return any(self._holds(each) for each in found)
        return found is not None and self._holds(found)

    def _holds(self, found: Any) -> bool:
        if isinstance(found, str):
            if self.test == "=":
                return fnmatch.fnmatchcase(found.casefold(), self.value.casefold())
            return _TESTS[self.test](found.casefold(), self.value.casefold())
        return _TESTS[self.test](found, number(self.value))


def number(text: str) -> float:
    """Parse a number with an optional unit prefix: decimal, or binary as in KiB.

    >>> number("5M"), number("1.5GB"), number("2KiB"), number("0.97")
    (5000000.0, 1500000000.0, 2048.0, 0.97)

    Raises:
        CkptError: it is not a number.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise CkptError(f"`filters`: {text!r} is not a number: 5M, 1.5GB, 0.97")
    return float(match[1]) * float((1024 if match[3] else 1000) ** _POWERS[match[2]])


def value_of(row: Row, field: str) -> Any:
    """Return a field or metric of a row, or None if it has neither; `tag` combines the tags of card and revision."""
    key = FIELDS.get(field)
    if key == "tags":
        return [*row.get("tags", ()), *row.get("named", ())]
    return (row.get("metrics") or {}).get(field) if key is None else row.get(key)


def chosen(rows: Iterable[Row], filters: Iterable[str], sort: Sequence[str] = ()) -> list[Row]:
    """Return the rows that satisfy all filters, sorted by fields such as `parameters` or `accuracy:desc`.

    Rows without the field come last.

    Raises:
        CkptError: a filter or sort order is invalid.
        UnknownName: there is no such field, and no row has such a metric.
    """
    found = list(rows)
    tests = [Filter.parse(text) for text in filters]
    orders = [(field, way) for field, _, way in (text.partition(":") for text in sort)]
    for field in [*(each.field for each in tests), *(field for field, _ in orders)]:
        _require_known(field, found)
    found = [row for row in found if all(each.passes(row) for each in tests)]
    for field, way in reversed(orders):
        if way not in ("", "asc", "desc"):
            raise CkptError(f"`sort`: {field}:{way} is not an order: {field}, {field}:asc or {field}:desc")
        there = [row for row in found if value_of(row, field) not in (None, [])]
        missing = [row for row in found if value_of(row, field) in (None, [])]
        found = [*sorted(there, key=lambda row: value_of(row, field), reverse=way == "desc"), *missing]
    return found


def _require_known(field: str, rows: Sequence[Row]) -> None:
    if field in FIELDS or any(field in (row.get("metrics") or ()) for row in rows):
        return
    metrics = {name for row in rows for name in row.get("metrics") or ()}
    raise UnknownName(
        f"no field or metric {field}{suggestion(field, [*FIELDS, *metrics])}; fields: {', '.join(FIELDS)}"
    )
