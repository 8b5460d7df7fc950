"""Hashes of tensors, computed from the bytes of a file while it is copied, or else by reading the tensors.

A hash is the SHA-256 of the values, little-endian and in C order. It is the same in every format, so that layers are
recognised wherever they are stored. Strings are prefixed by their lengths.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Extent, Tensor
from ckpttool.formats.wire import crc
from ckpttool.formats.wire.elements import as_bytes

Follow = Callable[[int, memoryview], None]
"""A function that is called with consecutive pieces of a file: the offset, and the bytes."""


class TensorHashes:
    """The hashes of tensors by name, computed as far as their bytes were seen."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Collect the extents of the tensors in their files."""
        self._tensors = tensors
        self._found: dict[Extent, str] = {}
        self._extents = defaultdict[str, list[Extent]](list)
        for extent in dict.fromkeys(each.extent for each in tensors.values() if each.extent and each.nbytes):
            self._extents[os.path.realpath(extent.path)].append(extent)

    def follow(self, file: Path) -> Follow | None:
        """Return a function that hashes a file's contiguous tensors from its bytes; None if there are none."""
        extents = sorted(self._extents.get(os.path.realpath(file), ()), key=lambda each: (each.offset, each.nbytes))
        return _Following(extents, self._found).take if extents else None

    def digests(self) -> dict[str, str]:
        """Return the hash of every tensor; those not hashed by `follow` are read.

        Raises:
            CorruptCheckpoint: a tensor is damaged.
        """
        return {name: self._digest(tensor) for name, tensor in self._tensors.items()}

    def _digest(self, tensor: Tensor) -> str:
        if tensor.extent in self._found:
            return self._found[tensor.extent]
        total = hashlib.sha256()
        for piece in tensor.pieces() if tensor.dtype.itemsize else _texts(tensor):
            total.update(piece)
        return total.hexdigest()


def _texts(tensor: Tensor) -> Iterator[bytes]:
    """Yield the elements of a tensor of strings, each after its length; other objects are represented by `repr`."""
    elements = tensor.read().ravel().tolist()
    for text in (
        as_bytes(elements, tensor.name) if tensor.dtype is STRING else (repr(each).encode() for each in elements)
    ):
        yield len(text).to_bytes(8, "little")
        yield text


class _Following:
    """The hashing of the tensors in one file from its bytes in order."""

    def __init__(self, extents: list[Extent], found: dict[Extent, str]) -> None:
        self._waiting, self._found = extents[::-1], found
        self._running: list[tuple[Extent, hashlib._Hash, list[int]]] = []

    def take(self, at: int, piece: memoryview) -> None:
        import numpy as np

        end = at + len(piece)
        while self._waiting and self._waiting[-1].offset < end:
            self._running.append((self._waiting.pop(), hashlib.sha256(), [0]))
        for extent, total, checksum in self._running:
            own = piece[max(extent.offset - at, 0) : extent.offset + extent.nbytes - at]
            total.update(own)
            if extent.crc is not None:
                checksum[0] = crc.extend(checksum[0], np.frombuffer(own, np.uint8))
            if extent.offset + extent.nbytes <= end:
                if extent.crc is not None and checksum[0] != extent.crc:
                    raise CorruptCheckpoint(f"{extent.path} is damaged: the checksum of the bytes at {extent.offset}")
                self._found[extent] = total.hexdigest()
        self._running = [each for each in self._running if each[0].offset + each[0].nbytes > end]
