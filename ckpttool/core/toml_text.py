"""TOML from untrusted files: parsed in bounded time, with one type of error."""

import re
import tomllib
from typing import Any

MOST_PARTS = 500
"""Maximum number of parts of a dotted key: the time of `tomllib` grows with its square."""
LARGEST = 1 << 24
"""Maximum size of a text in bytes."""
_DOTTED = re.compile(r"""(?<![A-Za-z0-9_"'-])(?:[A-Za-z0-9_"'-]++[ \t]*+\.[ \t]*+)++""")
"""A dotted key without its last part. It starts at a word and does not backtrack, so each character is read once."""


def loads(text: str | bytes) -> dict[str, Any]:
    """Parse a TOML text; a byte order mark is ignored.

    >>> loads(b'freeze = "hidden[12]"')
    {'freeze': 'hidden[12]'}

    Raises:
        ValueError: it is invalid, or would take long to parse.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text)} bytes, at most {LARGEST} are read")
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    if any(key[0].count(".") >= MOST_PARTS for key in _DOTTED.finditer(text)):
        raise ValueError(f"a key in it has more than {MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its lists or tables are nested too deeply") from None
