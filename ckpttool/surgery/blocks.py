"""Tensors as flat arrays of a few thousand elements, one alone or several in step.

A block stays in the processor's cache while it is read, checked and computed with.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from ckpttool.core import casting
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.tensors import Array, Extent, Tensor
from ckpttool.executors.machine import cores
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.formats.wire import crc

ELEMENTS = 64 << 10
"""Elements of a block."""
LARGE = 1 << 20
"""Bytes from which on a tensor is worth a file that is opened for it alone."""
ROW = 1 << 10
"""Elements that a product is taken of at once: from ten thousand on BLAS would start threads of its own for it."""
READERS = max(2, cores())
"""Threads that work on tensors: reading, checksums and arithmetic leave Python to the others."""
PORTION, TENSOR_COST = 8 << 20, 8 << 10
"""Bytes that one of them takes on at a time; what a small tensor costs is worth some thousand bytes of a large one."""
_BOOL = BY_NAME["bool"]
_Answer = TypeVar("_Answer")


def arrays(tensor: Tensor) -> Iterator[Array]:
    """Yield the elements of a tensor in their order, in flat blocks; each holds until the next one is asked for.

    Raises:
        CkptError: it holds strings or variants.
        CorruptCheckpoint: its checksum does not match.
    """
    lies_in_file = tensor.extent is not None and tensor.nbytes >= LARGE and tensor.dtype is not _BOOL
    for array in _from_file(tensor, tensor.extent) if lies_in_file and tensor.extent else casting.arrays(tensor):
        for start in range(0, len(array), ELEMENTS):
            yield array[start : start + ELEMENTS]


def in_step(tensors: Sequence[Tensor]) -> Iterator[list[Array]]:
    """Yield blocks of tensors of one shape; the blocks of one step hold the same elements of each.

    >>> a, b = Tensor.of("a", np.array([1.0, 2.0])), Tensor.of("b", np.array([3, 4]))
    >>> [[block.tolist() for block in blocks] for blocks in in_step([a, b])]
    [[[1.0, 2.0], [3, 4]]]
    """
    nothing = np.empty(0)
    streams = [arrays(tensor) for tensor in tensors]
    blocks = [next(stream, nothing) for stream in streams]
    while count := min(map(len, blocks)):
        yield [block[:count] for block in blocks]
        blocks = [
            block[count:] if len(block) > count else next(stream, nothing)
            for block, stream in zip(blocks, streams, strict=True)
        ]


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors of one dtype and shape hold the same bytes; variants are compared as they are stored.

    >>> same_bytes(Tensor.of("a", np.array([0.0, np.nan])), Tensor.of("b", np.array([0.0, np.nan])))
    True
    """
    if a.dtype.itemsize:
        return all(np.array_equal(one.view(np.uint8), other.view(np.uint8)) for one, other in in_step([a, b]))
    raw_a, raw_b = (getattr(tensor, "stored_bytes", None) for tensor in (a, b))
    if raw_a and raw_b:
        return bool(raw_a() == raw_b())
    return bool(a.read().tolist() == b.read().tolist())


def scalar_product(a: Array, b: Array) -> float:
    """Return the scalar product of two flat arrays, computed by this thread alone.

    >>> scalar_product(np.arange(3.0), np.ones(3))
    3.0
    """
    whole = len(a) - len(a) % ROW
    rows = np.matmul(a[:whole].reshape(-1, 1, ROW), b[:whole].reshape(-1, ROW, 1))
    return float(rows.sum()) + float(a[whole:] @ b[whole:])


def by_name(
    names: Collection[str], act: Callable[[str], _Answer], sources: Sequence[Mapping[str, Tensor]]
) -> dict[str, _Answer]:
    """Return what `act` answers to each name; tensors that lie in files are taken by several threads.

    Raises:
        KeyError: a source does not have one of the names.
    """
    lie_in_files = all(source[name].extent or not source[name].nbytes for source in sources for name in names)
    if not lie_in_files:
        return {name: act(name) for name in names}
    answers: dict[str, _Answer] = {}
    with ThreadPoolExecutor(READERS) as threads:
        for more in threads.map(lambda portion: {name: act(name) for name in portion}, _portions(names, sources[0])):
            answers.update(more)
    return answers


def _portions(names: Collection[str], source: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Yield names in portions of some megabytes: much for one thread, little to keep the other waiting."""
    portion: list[str] = []
    nbytes = 0
    for name in names:
        portion.append(name)
        nbytes += source[name].nbytes + TENSOR_COST
        if nbytes >= PORTION:
            yield portion
            portion, nbytes = [], 0
    yield portion


def _from_file(tensor: Tensor, extent: Extent) -> Iterator[Array]:
    """Yield a tensor from where it lies, in memory that is used again.

    Raises:
        CorruptCheckpoint: the checksum differs, or the file changed since it was opened.
    """
    file = CheckpointFile(extent.path)
    if extent.require_whole:
        extent.require_whole()
    stored = ByteRange(extent.offset, extent.nbytes, crc.mask(extent.crc or 0))
    little = tensor.dtype.numpy.newbyteorder("<")
    for piece in file.lent(tensor.name, stored, ELEMENTS * little.itemsize, extent.crc is not None):
        yield piece.view(little).astype(tensor.dtype.numpy, copy=False)
    file.require_unchanged(extent.stamp)
