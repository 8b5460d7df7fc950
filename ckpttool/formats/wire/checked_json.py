"""JSON that contains its own checksum, which is verified."""

import json
from collections.abc import Mapping
from typing import Any

from ckpttool.formats.wire import crc, strict_json

CHECKSUM = "json_crc32c"
"""The key of the checksum of all other facts."""


def dumps(facts: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """Return facts as JSON, with their checksum; values that JSON does not support are converted to strings.

    >>> loads(dumps({"step": 1100}))
    {'step': 1100}
    """
    plain = json.loads(json.dumps(facts, default=str))
    return json.dumps({**plain, CHECKSUM: _checksum(plain)}, indent=indent).encode() + b"\n"


def loads(data: bytes, is_required: bool = True) -> dict[str, Any]:
    """Return the facts of JSON; older versions wrote no checksum, which is accepted unless `is_required`.

    Raises:
        ValueError: it is not a JSON object, or the checksum is missing or does not match.
    """
    facts = strict_json.loads(data)
    if not isinstance(facts, dict):
        raise ValueError("it is not an object")
    if CHECKSUM not in facts and (is_required or any(map(_is_nearly, facts))):
        raise ValueError(f"it has no {CHECKSUM}")
    if (expected := facts.pop(CHECKSUM, None)) is not None and expected != _checksum(facts):
        raise ValueError(f"it has changed since it was written: its {CHECKSUM} does not match")
    return facts


def _is_nearly(key: str) -> bool:
    """Return whether a key differs from the checksum's by one or two characters, and so is probably damaged."""
    return len(key) == len(CHECKSUM) and sum(a != b for a, b in zip(key, CHECKSUM, strict=True)) < 3


def _checksum(facts: Mapping[str, Any]) -> int:
    return crc.extend(0, json.dumps(facts, sort_keys=True).encode())
