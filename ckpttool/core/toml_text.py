"""TOML of others: read in bounded time, and what is wrong with it is one kind of error."""

import re
import tomllib
from typing import Any

MOST_PARTS = 500
"""Parts of a dotted key: what `tomllib` needs for one grows with their square."""
LARGEST = 1 << 24
"""Bytes of a text that is read."""
_DOTTED = re.compile(r"""(?<![A-Za-z0-9_"'-])(?:[A-Za-z0-9_"'-]++[ \t]*+\.[ \t]*+)++""")
"""A key but for its last part. Each character is looked at once: it begins where a word does and gives nothing back."""


def loads(text: str | bytes) -> dict[str, Any]:
    """Return what a text of TOML holds; a byte order mark does not count.

    >>> loads(b'freeze = "hidden[12]"')
    {'freeze': 'hidden[12]'}

    Raises:
        ValueError: it is none, or one that would take long to read.
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
