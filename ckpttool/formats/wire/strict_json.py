"""JSON of one meaning: what parsers take in different ways is refused."""

import json
from collections import Counter
from typing import Any, NoReturn


def parse(raw: bytes) -> Any:
    """Return what JSON text in UTF-8 says.

    >>> parse(b'{"a": [1, 2]}')
    {'a': [1, 2]}

    Raises:
        ValueError: it is not JSON, a key stands twice in an object, a number is not finite, half of a surrogate pair
            has no bytes, or it is nested too deeply.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if "\\u" in text:
        _require_text(json.dumps(value, ensure_ascii=False))
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _require_text(text: str) -> None:
    """Check that text can be written as UTF-8.

    Raises:
        ValueError: it holds half of a surrogate pair.
    """
    text.encode("utf-8")
