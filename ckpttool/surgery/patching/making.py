"""Creating a patch from two checkpoints: equal tensors are found by hashes, changed ones are compressed in blocks."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import BinaryIO

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import VARIANT
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import PIECE, Tensor, TensorSpec
from ckpttool.formats.patch.coding import BLOCKS, DIFFERENCE, WHOLE, XOR, in_blocks, packed
from ckpttool.formats.patch.file import MAGIC, SAME, BaseTensor, Patch, PatchedTensor, directory, framed
from ckpttool.surgery.blocks import READERS
from ckpttool.surgery.patching.hashes import hashes, string_bytes, whole_hash

TRIED = 4
"""The number of blocks by which the compression method of a tensor is chosen."""
Block = tuple[bytes, bytes | None]
"""The bytes of a tensor, and those of the base's tensor for a difference."""


@dataclass(frozen=True)
class Delta:
    """The content of a patch, and the two checkpoints."""

    patch: Patch
    base: Checkpoint
    tuned: Checkpoint

    def rows(self) -> list[dict[str, object]]:
        """Return `{"name", "difference", "packed"}` for each change; the last is the size in the patch in bytes."""
        rows: list[dict[str, object]] = [
            {"name": each.spec.name, "difference": self._said(each), "packed": each.stored}
            for each in self.patch.changed
        ]
        moved = [each for each in self.patch.tensors.values() if each.how == SAME and each.of != each.spec.name]
        rows += [{"name": each.spec.name, "difference": f"is {each.of}", "packed": 0} for each in moved]
        gone = [name for name in self.patch.base if name not in self.patch.tensors]
        return rows + [{"name": name, "difference": "dropped", "packed": 0} for name in gone]

    def write(self, file: BinaryIO, lineage: str = "") -> "Delta":
        """Write the patch, a few blocks at a time, and return it with the places of the blocks.

        Raises:
            CorruptCheckpoint: a tensor's checksum does not match.
        """
        file.write(MAGIC)
        at, made = len(MAGIC), {}
        with ThreadPoolExecutor(READERS) as threads:
            for name, tensor in self.patch.tensors.items():
                if tensor.how == SAME:
                    made[name] = tensor
                    continue
                way = _way(self.tuned[name], self._start(tensor))
                start = self._start(tensor) if way != WHOLE else None
                stored = nbytes = 0
                for block, size in _packed(self.tuned[name], start, way, threads):
                    stored, nbytes = stored + file.write(framed(block)), nbytes + size
                of = tensor.of if start else None
                made[name] = replace(tensor, how=way, of=of, at=at, stored=stored, nbytes=nbytes)
                at += stored
        patch = replace(self.patch, tensors=made, lineage=lineage)
        file.write(directory(patch))
        return replace(self, patch=patch)

    def _said(self, tensor: PatchedTensor) -> str:
        before = self.patch.base.get(tensor.spec.name)
        alike = before and (before.spec.shape, before.spec.dtype) == (tensor.spec.shape, tensor.spec.dtype)
        return "values" if alike else "shape or dtype" if before else "new"

    def _start(self, tensor: PatchedTensor) -> Tensor | None:
        return None if tensor.of is None else self.base[tensor.of]


def delta(base: Checkpoint, tuned: Checkpoint) -> Delta:
    """Compare two checkpoints by the hashes of their tensors; renamed tensors are recognised.

    Args:
        base: The checkpoint to which the patch will be applied.
        tuned: The result.

    >>> import numpy as np
    >>> a = Checkpoint.of({"low/kernel": np.ones(3), "top/bias": np.zeros(2)})
    >>> b = Checkpoint.of({"low/kernel": np.ones(3), "top/bias": np.ones(2)})
    >>> [each.spec.name for each in delta(a, b).patch.changed]
    ['top/bias']

    Raises:
        PlanError: a variant has changed, which a patch can copy, but not store.
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    old, new = hashes(base), hashes(tuned)
    held = {(base[name].shape, base[name].dtype, hash_): name for name, hash_ in reversed(old.items())}
    tensors = {}
    for name, hash_ in new.items():
        spec = replace(tuned[name].spec, name=name)
        alike = name in base and (base[name].shape, base[name].dtype) == (spec.shape, spec.dtype)
        same = name if alike and old[name] == hash_ else held.get((spec.shape, spec.dtype, hash_))
        if same is not None:
            tensors[name] = PatchedTensor(spec, SAME, hash_, same)
        elif spec.dtype is VARIANT:
            raise PlanError(f"{name} contains variants that the base does not have: a patch cannot store them")
        else:
            differs = alike and spec.dtype.itemsize
            tensors[name] = PatchedTensor(spec, DIFFERENCE if differs else WHOLE, hash_, name if differs else None)
    known = {name: BaseTensor(replace(base[name].spec, name=name), hash_) for name, hash_ in old.items()}
    sums = [whole_hash(_told(each)) for each in (known, tensors)]
    return Delta(Patch(known, tensors, sums[0], sums[1], tuned.metadata), base, tuned)


def _told(tensors: Mapping[str, BaseTensor] | Mapping[str, PatchedTensor]) -> Iterator[tuple[TensorSpec, str]]:
    return ((each.spec, each.hash) for each in tensors.values())


def _way(tensor: Tensor, base: Tensor | None) -> str:
    """Return the method that compresses the first blocks of a tensor best."""
    if base is None:
        return WHOLE

    def size(way: str) -> int:
        some = islice(_blocks(tensor, None if way == WHOLE else base, BLOCKS[DIFFERENCE]), TRIED)
        return sum(len(packed(block, start, tensor.dtype, way)) for block, start in some)

    return min((DIFFERENCE, XOR, WHOLE), key=size)


def _packed(tensor: Tensor, base: Tensor | None, way: str, threads: ThreadPoolExecutor) -> Iterator[tuple[bytes, int]]:
    """Yield a tensor's compressed blocks in order, each with its uncompressed size; compression is concurrent."""
    some = max(1, PIECE // BLOCKS[way] // 4)
    waiting: deque[Future[list[tuple[bytes, int]]]] = deque()
    blocks = _blocks(tensor, base, BLOCKS[way])
    while portion := list(islice(blocks, some)):
        waiting.append(threads.submit(_all_packed, tensor, way, portion))
        if len(waiting) > READERS:
            yield from waiting.popleft().result()
    for future in waiting:
        yield from future.result()


def _all_packed(tensor: Tensor, way: str, portion: list[Block]) -> list[tuple[bytes, int]]:
    return [(packed(block, start, tensor.dtype, way), len(block)) for block, start in portion]


def _blocks(tensor: Tensor, base: Tensor | None, nbytes: int) -> Iterator[Block]:
    """Yield the bytes of a tensor in blocks, each with the corresponding bytes of the base."""
    pieces = tensor.pieces() if tensor.dtype.itemsize else [string_bytes(tensor)]
    mine = map(bytes, in_blocks(pieces, nbytes))
    if base is None:
        yield from ((block, None) for block in mine)
    else:
        yield from zip(mine, map(bytes, in_blocks(base.pieces(), nbytes)), strict=True)
