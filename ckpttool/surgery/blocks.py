"""Iterate over one or several tensors in flat blocks of `ELEMENTS` elements.

A block stays in the processor's cache while it is read, checked and used.
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
"""The maximum number of elements in a block."""
LARGE = 1 << 20
"""The size in bytes above which a tensor is read through a file handle of its own."""
ROW = 1 << 10
"""Elements per scalar product: above ten thousand, BLAS would start threads of its own."""
READERS = max(2, cores())
"""The number of threads that process tensors: reading, checksums and arithmetic release Python's lock."""
PORTION, TENSOR_COST = 8 << 20, 8 << 10
"""Bytes that a thread is given at a time, and the overhead of a tensor, in bytes of the same cost."""
_BOOL = BY_NAME["bool"]
_Answer = TypeVar("_Answer")


def arrays(tensor: Tensor) -> Iterator[Array]:
    """Yield a tensor's elements in order as flat blocks; a block is valid until the next one is requested.

    Raises:
        CkptError: the tensor contains strings or variants.
        CorruptCheckpoint: its checksum does not match.
    """
    lies_in_file = tensor.extent is not None and tensor.nbytes >= LARGE and tensor.dtype is not _BOOL
    for array in _from_file(tensor, tensor.extent) if lies_in_file and tensor.extent else casting.arrays(tensor):
        for start in range(0, len(array), ELEMENTS):
            yield array[start : start + ELEMENTS]


def in_step(tensors: Sequence[Tensor]) -> Iterator[list[Array]]:
    """Yield lists of blocks of tensors of equal shapes; the blocks of a list contain the same elements of each tensor.

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


def in_rows(tensors: Sequence[Tensor], row: int) -> Iterator[list[Array]]:
    """Yield lists of blocks as `in_step`, of whole rows: a multiple of `row` elements, in arrays of their own.

    >>> [blocks[0].tolist() for blocks in in_rows([Tensor.of("a", np.arange(4.0))], 2)]
    [[0.0, 1.0, 2.0, 3.0]]
    """
    size, count = row * max(1, ELEMENTS // row), 0
    held: list[list[Array]] = [[] for _ in tensors]
    for blocks in in_step(tensors):
        at = 0
        while at < len(blocks[0]):
            parts = [block[at : at + size - count].copy() for block in blocks]
            for own, part in zip(held, parts, strict=True):
                own.append(part)
            at, count = at + len(parts[0]), count + len(parts[0])
            if count == size:
                yield [np.concatenate(own) for own in held]
                held, count = [[] for _ in tensors], 0
    if count:
        yield [np.concatenate(own) for own in held]


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of equal dtype and shape have the same bytes; variants are compared as stored.

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
    """Return the scalar product of two flat arrays, computed in this thread only.

    >>> scalar_product(np.arange(3.0), np.ones(3))
    3.0
    """
    whole = len(a) - len(a) % ROW
    rows = np.matmul(a[:whole].reshape(-1, 1, ROW), b[:whole].reshape(-1, ROW, 1))
    return float(rows.sum()) + float(a[whole:] @ b[whole:])


def by_name(
    names: Collection[str], act: Callable[[str], _Answer], sources: Sequence[Mapping[str, Tensor]]
) -> dict[str, _Answer]:
    """Return `act(name)` for each name; in several threads if all tensors are stored in files.

    Raises:
        KeyError: a source lacks one of the names.
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
    """Yield names in portions of about `PORTION` bytes: enough for a thread, and few enough to balance the threads."""
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
    """Yield a tensor from its place in a file, in memory that is reused.

    Raises:
        CorruptCheckpoint: the checksum differs, or the file changed after it was opened.
    """
    file = CheckpointFile(extent.path)
    if extent.require_whole:
        extent.require_whole()
    stored = ByteRange(extent.offset, extent.nbytes, crc.mask(extent.crc or 0))
    little = tensor.dtype.numpy.newbyteorder("<")
    for piece in file.lent(tensor.name, stored, ELEMENTS * little.itemsize, extent.crc is not None):
        yield piece.view(little).astype(tensor.dtype.numpy, copy=False)
    file.require_unchanged(extent.stamp)
