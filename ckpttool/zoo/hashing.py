"""Hashes of tensors' values, taken from the bytes of a file as it is copied, else by reading them once more.

A hash is the SHA-256 of the values, little endian, in C order: the same in every format, so that a layer is known again
wherever it is stored. Strings count with their lengths before them.
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
"""What is given the bytes of a file in their order, each piece with the place where it begins."""


class TensorHashes:
    """The hashes of some tensors by name, as far as their bytes have passed."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Find out where the tensors' bytes lie."""
        self._tensors = tensors
        self._found: dict[Extent, str] = {}
        self._extents = defaultdict[str, list[Extent]](list)
        for extent in dict.fromkeys(each.extent for each in tensors.values() if each.extent and each.nbytes):
            self._extents[os.path.realpath(extent.path)].append(extent)

    def follow(self, file: Path) -> Follow | None:
        """Return what takes the hashes of all tensors in a file from its bytes; None where none lies in it plainly."""
        extents = sorted(self._extents.get(os.path.realpath(file), ()), key=lambda each: (each.offset, each.nbytes))
        return _Following(extents, self._found).take if extents else None

    def digests(self) -> dict[str, str]:
        """Return the hash of every tensor; those whose bytes did not pass are read.

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
    """Yield the strings of a tensor, each behind its length; what is not a string counts as it is shown."""
    elements = tensor.read().ravel().tolist()
    for text in (
        as_bytes(elements, tensor.name) if tensor.dtype is STRING else (repr(each).encode() for each in elements)
    ):
        yield len(text).to_bytes(8, "little")
        yield text


class _Following:
    """The tensors in one file, as its bytes pass from the first to the last."""

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
