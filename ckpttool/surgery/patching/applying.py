"""Applying a patch to its base; each tensor of the result is verified with its hash while it is read."""

import hashlib
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.formats.patch.coding import BLOCKS, in_blocks, unpacked
from ckpttool.formats.patch.file import SAME, PatchedTensor, PatchFile
from ckpttool.formats.reading.data_file import require_truth
from ckpttool.formats.wire import varint
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.merging.agreement import label
from ckpttool.surgery.patching.hashes import hashes


def patched(base: Checkpoint, file: PatchFile, provenance: Provenance) -> Checkpoint:
    """Return the result of a patch; the base is read once for its hashes, and tensors are computed on demand.

    Args:
        base: The checkpoint for which the patch was made, in any format.
        file: The patch.
        provenance: The provenance of the result.

    Raises:
        PlanError: `base` is another checkpoint; the message has the first tensor that differs.
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    _require_base(base, file)
    tensors = {name: _made(base, file, tensor) for name, tensor in file.patch.tensors.items()}
    made = base.holding(tensors, dict(_moved(file)))
    made.metadata = dict(file.patch.metadata)
    return made.made_of(provenance)


def _moved(file: PatchFile) -> Iterator[tuple[str, str]]:
    """Yield the new and old names of renamed tensors, without copies of tensors that still exist."""
    tensors = file.patch.tensors
    for name, tensor in tensors.items():
        if tensor.of is not None and name not in file.patch.base and tensor.of not in tensors:
            yield name, tensor.of


def _require_base(base: Checkpoint, file: PatchFile) -> None:
    """Check tensor by tensor that a checkpoint is the patch's base.

    Raises:
        PlanError: it is not; the message has the first tensor that differs.
    """
    patch, where = file.patch, label(base, 0)

    def refuse(name: str, why: str) -> NoReturn:
        raise PlanError(f"{where} is not the base of the patch {file.path}: {name} {why}")

    for name, known in patch.base.items():
        spec = known.spec
        if name not in base:
            refuse(name, "is missing")
        if (base[name].shape, base[name].dtype) != (spec.shape, spec.dtype):
            refuse(name, f"is {base[name].dtype} {list(base[name].shape)}, expected {spec.dtype} {list(spec.shape)}")
    if more := next((name for name in base if name not in patch.base), None):
        refuse(more, "is an additional tensor")
    for name, found in hashes(base).items():
        if found != patch.base[name].hash:
            made = patch.tensors.get(name)
            hint = ", which is the result of the patch: it was applied already" if made and made.hash == found else ""
            refuse(name, f"has other values (SHA-256 {found[:16]}..., expected {patch.base[name].hash[:16]}...){hint}")


def _made(base: Checkpoint, file: PatchFile, tensor: PatchedTensor) -> Tensor:
    """Return a tensor of the result."""
    spec, start = tensor.spec, None if tensor.of is None else base[tensor.of]
    if tensor.how == SAME and start is not None:
        return start if tensor.of == spec.name else start.renamed(spec.name)
    if not spec.dtype.itemsize:
        return Tensor(spec, lambda: _strings(file, tensor))

    def pieces() -> Iterator[memoryview]:
        for block in _checked(file, tensor, start):
            yield memoryview(require_truth(spec, block, file.path))

    def read() -> Array:
        raw, at = np.empty(spec.nbytes, np.uint8), 0
        for piece in pieces():
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        little = spec.dtype.numpy.newbyteorder("<")
        return raw.view(little).astype(spec.dtype.numpy, copy=False).reshape(spec.shape)

    return Tensor(spec, read, pieces)


def _checked(file: PatchFile, tensor: PatchedTensor, base: Tensor | None) -> Iterator[bytes]:
    """Yield the decompressed blocks of a tensor.

    Raises:
        CorruptCheckpoint: a block is damaged, or the tensor's hash differs from that in the patch.
    """
    total, step = hashlib.sha256(), BLOCKS[tensor.how]
    before = in_blocks(base.pieces(), step) if base else None
    for raw, nbytes in file.blocks(tensor):
        start = next(before) if before else None
        try:
            block = unpacked(raw, nbytes, start, tensor.spec.dtype, tensor.how)
        except ValueError as error:
            raise CorruptCheckpoint(f"{file.path}: {tensor.spec.name} cannot be unpacked: {error}") from error
        total.update(block)
        yield block
    if total.hexdigest() != tensor.hash:
        raise CorruptCheckpoint(
            f"{file.path}: {tensor.spec.name} has a different hash after the patch than the patch declares"
        )


def _strings(file: PatchFile, tensor: PatchedTensor) -> Array:
    """Return an array of strings, each of which is stored after its length."""
    data, spec = b"".join(_checked(file, tensor, None)), tensor.spec
    texts, at = np.empty(spec.elements, object), 0
    try:
        for number in range(spec.elements):
            length, at = varint.decode(data, at, len(data))
            if at + length > len(data):
                raise ValueError(f"string {number} ends at byte {at + length} of {len(data)}")
            texts[number] = data[at : at + length]
            at += length
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes are trailing")
    except ValueError as error:
        raise CorruptCheckpoint(f"{file.path}: {spec.name} does not contain such strings: {error}") from error
    return texts.reshape(spec.shape)
