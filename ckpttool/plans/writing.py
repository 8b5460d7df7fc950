"""Plans written as TOML, which `Script.of_text` parses again."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NUMBERS = {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}
_STEERING = re.compile(r"[\x7f-\x9f]")
"""Control characters that TOML or a terminal needs escaped, and JSON does not escape."""


def written(document: Mapping[str, Any], notes: Mapping[str, Sequence[str]] | None = None) -> Iterator[str]:
    """Yield the lines of a plan; `notes` maps sources to comments above their lines, "" to those at the top.

    >>> for line in written({"sources": {"a": {"path": "x.npz"}}, "step": [{"drop-slots": True}]}, {"a": ["gone"]}):
    ...     print(line)
    [sources]
    # gone
    a = {path = "x.npz"}
    <BLANKLINE>
    [[step]]
    drop-slots = true
    """
    notes = notes or {}
    yield from map(_comment, notes.get("", ()))
    for table in ("variables", "sources"):
        if document.get(table):
            yield f"[{table}]"
            for name, value in document[table].items():
                yield from map(_comment, notes.get(name, ()) if table == "sources" else ())
                yield f"{_key(name)} = {_value(value)}"
            yield ""
    for number, step in enumerate(document["step"]):
        yield from ("", "[[step]]") if number else ("[[step]]",)
        yield from (f"{_key(key)} = {_value(value)}" for key, value in step.items())


def _comment(text: str) -> str:
    return f"# {_text(text)[1:-1]}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return _text(value) if isinstance(value, str) else _NUMBERS.get(shown := json.dumps(value), shown)


def _text(text: str) -> str:
    """Return a quoted text; one with backslashes, such as a pattern, as a literal string if possible."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
