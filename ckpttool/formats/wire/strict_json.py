"""Parsing JSON of bounded size, without ambiguities that parsers interpret differently."""

import json
from collections import Counter
from typing import Any, NoReturn

MOST_VALUES = 1_000_000
"""The maximum number of values: each takes up to a hundred times its two bytes, and no header or index has as many."""


def loads(raw: bytes | str) -> Any:
    """Return the value of JSON text, with Python's leniency (NaN, repeated keys).

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has too many values.
    """
    _require_few(raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw)
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse(raw: bytes, most: int | None = None) -> Any:
    """Return the value of strict JSON text in UTF-8 with at most `most` values (by default `MOST_VALUES`).

    >>> parse(b'{"a": [1, 2]}')
    {'a': [1, 2]}

    Raises:
        ValueError: it is not JSON, an object has a repeated key, a number is not finite, a string has an unpaired
            surrogate, it is nested too deeply, or has too many values.
    """
    _require_few(raw, most)
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\u" in text:
        _require_text(json.dumps(value, ensure_ascii=False))
    return value


def _require_few(raw: bytes, most: int | None = None) -> None:
    most = MOST_VALUES if most is None else most
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if values > most:
        raise ValueError(f"it has about {values} values, at most {most} are read")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} appears twice in an object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a valid number in JSON")


def _require_text(text: str) -> None:
    """Check that text can be encoded as UTF-8.

    Raises:
        ValueError: it has an unpaired surrogate.
    """
    text.encode("utf-8")
