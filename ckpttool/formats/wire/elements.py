"""String and variant tensors in bundles, whose elements vary in size.

Strings are stored as their lengths, a checksum of the lengths, and the bytes (WriteStringTensor in tensor_bundle.cc).
On disk, a length is a varint. In the checksums, it is a number of four bytes (eight if necessary) in the writer's byte
order, as in the first checkpoints. A tensor's checksum covers lengths, the stored checksum and bytes.

Variants (TensorLists, optionals) are verified and copied, but not decoded, because they reference code to run. Each is
stored as its length, a VariantTensorDataProto, and the checksum of everything so far (WriteVariantTensor).
"""

import struct
from collections.abc import Iterable, Sequence

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.formats.wire import crc, varint

CHECKSUM = 4


def encode_string_lengths(strings: Sequence[bytes]) -> tuple[bytes, int]:
    """Return the part before the bytes, and its checksum, to which those of the bytes must be added.

    >>> encode_string_lengths([b"hello", b"", b"x" * 300])[0].hex()
    '0500ac02812c1d6d'
    """
    running = string_lengths_checksum([len(text) for text in strings])
    stored = struct.pack("<I", crc.mask(running))
    return b"".join(varint.encode(len(text)) for text in strings) + stored, crc.extend(running, stored)


def string_lengths_checksum(lengths: Sequence[int], big_endian: bool = False) -> int:
    """Return the checksum of lengths as numbers of four bytes, or of eight if they are larger."""
    order = ">" if big_endian else "<"
    if max(lengths, default=0) <= 0xFFFFFFFF:
        import numpy as np

        return crc.extend(0, np.array(lengths, f"{order}u4").tobytes())
    return crc.extend(0, b"".join(struct.pack(order + ("I" if n <= 0xFFFFFFFF else "Q"), n) for n in lengths))


def decode_strings(data: bytes, count: int, stored_crc: int, big_endian: bool = False) -> list[bytes]:
    """Return the strings of a tensor of `count` elements whose bytes are `data`.

    Raises:
        ValueError: lengths do not fit the bytes, or a checksum does not match.
    """
    if count + CHECKSUM > len(data):
        raise ValueError(f"{counted(count, 'string')} do not fit into {counted(len(data), 'byte')}")
    lengths, at = _lengths(data, count)
    running = string_lengths_checksum(lengths, big_endian)
    (stored,) = struct.unpack_from(">I" if big_endian else "<I", data, at)
    if crc.mask(running) != stored:
        raise ValueError("the checksum of the string lengths does not match")
    if crc.mask(crc.extend(running, data[at:])) != stored_crc:
        raise ValueError("the checksum does not match")
    strings, at = [], at + CHECKSUM
    for length in lengths:
        strings.append(data[at : at + length])
        at += length
    return strings


def _lengths(data: bytes, count: int) -> tuple[list[int], int]:
    """Return the lengths and the offset after them, after checking that the strings fill the bytes exactly."""
    lengths, at = [], 0
    for _ in range(count):
        length, at = varint.decode(data, at, len(data))
        lengths.append(length)
    if at + CHECKSUM + sum(lengths) != len(data):
        raise ValueError(
            f"the string lengths add up to {sum(lengths)} bytes, but {len(data) - at - CHECKSUM} are there"
        )
    return lengths, at


def as_bytes(elements: Iterable[object], name: str) -> list[bytes]:
    """Return the elements of a string array as bytes; text becomes UTF-8.

    Raises:
        CkptError: an element is neither bytes nor text.
    """
    out = []
    for element in elements:
        if isinstance(element, str):
            out.append(element.encode("utf-8", "surrogateescape"))
        elif isinstance(element, bytes):
            out.append(bytes(element))
        else:
            raise CkptError(f"{name} contains a {type(element).__name__}, a string tensor contains bytes or text")
    return out


def variant_checksum(data: bytes, count: int) -> int:
    """Verify the bytes of a variant tensor of `count` elements, and return the masked checksum of the whole.

    Raises:
        ValueError: lengths do not fit, or the checksum of an element does not match.
    """
    running = at = 0
    for _ in range(count):
        length, start = varint.decode(data, at, len(data))
        end = start + length
        if end + 4 > len(data):
            raise ValueError(f"a variant of {counted(length, 'byte')} does not fit")
        running = crc.extend(crc.extend(running, struct.pack("<Q", length)), data[start:end])
        if data[end : end + 4] != struct.pack("<I", crc.mask(running)):
            raise ValueError("the checksum of a variant does not match")
        running, at = crc.extend(running, data[end : end + 4]), end + 4
    if at != len(data):
        raise ValueError(f"{counted(len(data) - at, 'byte is', 'bytes are')} left over after the last variant")
    return crc.mask(running)
