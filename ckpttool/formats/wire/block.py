"""A block of a sorted table: entries, each without the part of its key that the one before has too, and restart points.

A block may be packed with snappy: TensorFlow does not write such, other writers of its checkpoints do.
"""

import struct

from ckpttool.formats.wire import varint

BLOCK_LIMIT = 64 << 20
"""Bytes that a compressed block may unpack to: a few bytes could otherwise claim any amount of memory."""

Entries = list[tuple[bytes, bytes]]


def unpack_snappy(packed: bytes) -> bytes:
    """Return what a snappy block holds.

    Raises:
        ValueError: it is damaged, or claims over `BLOCK_LIMIT` bytes.
    """
    import cramjam

    claimed, _ = varint.decode(packed, 0, len(packed))
    if claimed > BLOCK_LIMIT:
        raise ValueError(f"it claims to unpack to {claimed} bytes, the limit is {BLOCK_LIMIT}")
    try:
        unpacked = bytes(cramjam.snappy.decompress_raw(packed))
    except cramjam.DecompressionError as error:
        raise ValueError(f"its snappy data cannot be unpacked: {error}") from error
    return unpacked


def decode_block(block: bytes) -> Entries:
    """Return the keys and values of a block; each key says how much it shares with the one before.

    This runs once for every tensor of a checkpoint, so it is one loop without calls for the usual short entries.

    Raises:
        ValueError: lengths or restart points do not fit, or keys do not ascend.
    """
    restarts = _restarts(block)
    limit = len(block) - 4 - 4 * len(restarts)
    entries: Entries = []
    append, whole_keys = entries.append, set()
    at, key, first = 0, b"", True
    while at < limit:
        if at + 3 > limit:
            raise ValueError(f"the entry at byte {at} is cut off")
        start, shared, rest, length = at, block[at], block[at + 1], block[at + 2]
        if (shared | rest | length) < 0x80:
            at += 3
        else:
            shared, at = varint.decode(block, at, limit)
            rest, at = varint.decode(block, at, limit)
            length, at = varint.decode(block, at, limit)
        middle = at + rest
        end = middle + length
        if end > limit or shared > len(key):
            raise ValueError(f"the lengths of the entry at byte {start} do not fit")
        following = key[:shared] + block[at:middle]
        if following <= key and not first:
            raise ValueError(f"the key of the entry at byte {start} is not above the one before")
        if not shared:
            whole_keys.add(start)
        append((following, block[middle:end]))
        at, key, first = end, following, False
    if not whole_keys.issuperset(restarts) and (limit or restarts != (0,)):
        raise ValueError("a restart point is not at an entry")
    return entries


def _restarts(block: bytes) -> tuple[int, ...]:
    """Return the restart points, which look-ups start from; a block may have none."""
    if len(block) < 4:
        raise ValueError(f"it has {len(block)} bytes, fewer than its last number")
    (count,) = struct.unpack_from("<I", block, len(block) - 4)
    if count > (len(block) - 4) // 4:
        raise ValueError(f"it claims {count} restart points in {len(block)} bytes")
    return struct.unpack_from(f"<{count}I", block, len(block) - 4 - 4 * count)
