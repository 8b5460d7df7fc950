"""JSON that carries its own checksum, by which it is believed whole or not at all."""

import json
from collections.abc import Mapping
from typing import Any

from ckpttool.formats.wire import crc, strict_json

CHECKSUM = "json_crc32c"
"""The name of the checksum, which is that of the other facts."""


def dumps(facts: Mapping[str, Any], indent: int | None = 1) -> bytes:
    """Return facts as JSON, with their checksum; what JSON lacks is its text.

    >>> loads(dumps({"step": 1100}))
    {'step': 1100}
    """
    plain = json.loads(json.dumps(facts, default=str))
    return json.dumps({**plain, CHECKSUM: _checksum(plain)}, indent=indent).encode() + b"\n"


def loads(data: bytes, is_required: bool = True) -> dict[str, Any]:
    """Return the facts of JSON; those without a checksum, as older versions wrote them, where it is not required.

    Raises:
        ValueError: it is not JSON, no object, lacks its checksum, or has another one.
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
    """Say whether a key is the checksum's but for a character or two: it was, before it was damaged."""
    return len(key) == len(CHECKSUM) and sum(a != b for a, b in zip(key, CHECKSUM, strict=True)) < 3


def _checksum(facts: Mapping[str, Any]) -> int:
    return crc.extend(0, json.dumps(facts, sort_keys=True).encode())
