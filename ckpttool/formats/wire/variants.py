"""Variant tensors (TensorLists, optionals): checked and copied, never decoded, for their contents name code to run.

Each element is its length, a VariantTensorDataProto, and the checksum of everything so far (WriteVariantTensor).
"""

import struct

from ckpttool.formats.wire import crc, varint


def checksum(data: bytes, count: int) -> int:
    """Check the bytes of a variant tensor of `count` elements, and return the masked checksum of the whole.

    Raises:
        ValueError: lengths do not fit, or the checksum of an element does not match.
    """
    running = at = 0
    for _ in range(count):
        length, start = varint.decode(data, at, len(data))
        end = start + length
        if end + 4 > len(data):
            raise ValueError(f"a variant of {length} bytes does not fit")
        running = crc.extend(crc.extend(running, struct.pack("<Q", length)), data[start:end])
        if data[end : end + 4] != struct.pack("<I", crc.mask(running)):
            raise ValueError("the checksum of a variant does not match")
        running, at = crc.extend(running, data[end : end + 4]), end + 4
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes are left over after the last variant")
    return crc.mask(running)
