"""Limits on what a few stored bytes may stand for, compressed or repeated."""

from collections.abc import Iterable
from pathlib import Path

from ckpttool.core.errors import FormatError

UNPACKED_LIMIT = 4 << 30
RATIO_LIMIT = 100
"""A compressed member over both limits is refused as a decompression bomb, and tensors that repeat bytes as often."""


def require_few_repeats(path: Path, places: Iterable[tuple[str, int, int]]) -> None:
    """Check that tensors do not refer to the same bytes very often: to read a small file could take very long.

    Args:
        path: The checkpoint.
        places: For each tensor its file, and the offset and the size of its bytes.

    Raises:
        FormatError: they do; tied weights, which share their bytes, are accepted.
    """
    places = list(places)
    said = sum(size for _, _, size in places)
    if said <= UNPACKED_LIMIT:
        return
    distinct = distinct_bytes(places)
    if said > RATIO_LIMIT * distinct:
        raise FormatError(f"{path}: its tensors repeat {distinct} bytes to {said}")


def distinct_bytes(places: Iterable[tuple[str, int, int]]) -> int:
    """Return the number of bytes in ranges (file, offset, size); those in several ranges count once.

    >>> distinct_bytes([("a", 0, 10), ("a", 5, 10), ("b", 0, 10)])
    25
    """
    distinct, reached = 0, ("", 0)
    for file, start, size in sorted(places):
        begin = max(start, reached[1]) if file == reached[0] else start
        distinct += max(0, start + size - begin)
        reached = file, max(begin, start + size)
    return distinct
