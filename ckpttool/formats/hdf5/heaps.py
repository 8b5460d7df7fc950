"""Global heaps, which contain strings of variable length: those that would make the HDF5 library loop are rejected.

The layout: https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html#GlobalHeap. Object 0 is the free space, whose size
includes its own header; the library advances by that size, and loops forever if it is 0 (seen in HDF5 1.14.6), or if it
is so large that its sum with the offset wraps around.
"""

from collections.abc import Iterator
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.hdf5.source import MAGIC, Hdf5Source
from ckpttool.remote import sparse_files

SIGNATURE = b"GCOL\x01\0\0\0"
"""The signature, the version, and zero bytes."""
SMALLEST = 4096
"""Minimum size of a collection in bytes."""
WORD = 1 << 64
"""The library adds sizes and addresses in 64 bits, with wrap-around."""
OBJECT = 16
"""Size in bytes of an object's header: index, references, padding, size."""
LARGEST_SEARCHED = 64 << 20
"""Maximum size in bytes of a searched file: the search would take longer than reading the values of a larger one."""


def require_heaps_that_end(source: Hdf5Source) -> None:
    """Check the global heaps of a local file of at most `LARGEST_SEARCHED` bytes.

    Raises:
        CorruptCheckpoint: if the library would not advance after an object, or they overlap.
    """
    is_remote = source.unpacked is None and sparse_files.at(source.path)
    if is_remote or source.size > LARGEST_SEARCHED:
        return
    with source.bytes() as place, place.open("rb") if isinstance(place, Path) else place as file:
        data = file.read(source.size)
    lengths = _bytes_of_lengths(data)
    left = len(data) // OBJECT
    for at in _places(data):
        for size in _steps(data, at, lengths):
            left -= 1
            if not 0 < size < WORD // 2:  # a huge size goes backwards, because addresses wrap around
                why = "has an object after which none can follow"
            elif left < 0:
                why = "has more objects than the file, with those of others before it: they overlap"
            else:
                continue
            raise CorruptCheckpoint(f"{source.path}: the global heap at byte {at} {why}")


def _bytes_of_lengths(data: bytes) -> int:
    """Return the size in bytes of lengths in the file, from its superblock."""
    start = max(data.find(MAGIC), 0)
    superblock = data[start : start + 16].ljust(16, b"\0")
    return superblock[14 if superblock[8] < 2 else 10]


def _places(data: bytes) -> Iterator[int]:
    at = data.find(SIGNATURE)
    while at >= 0:
        yield at
        at = data.find(SIGNATURE, at + 1)


def _steps(data: bytes, at: int, lengths: int) -> Iterator[int]:
    """Yield the number of bytes by which the library advances after each object of a collection."""
    size = int.from_bytes(data[at + 8 : at + 8 + lengths], "little")
    end = at + size
    if not SMALLEST <= size <= len(data) - at:
        return  # the library rejects it
    at += OBJECT
    while end - at >= OBJECT:
        index = int.from_bytes(data[at : at + 2], "little")
        size = int.from_bytes(data[at + 8 : at + 8 + lengths], "little")
        step = (size if index == 0 else OBJECT + (size + 7) % WORD // 8 * 8) % WORD
        yield step
        at += step
