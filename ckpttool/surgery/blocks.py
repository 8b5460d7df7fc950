"""Tensors as blocks of bytes of one size, so that two can be compared however each one's bytes come."""

from collections.abc import Iterator

from ckpttool.tensors import Tensor

BLOCK = 1 << 20


def blocks(tensor: Tensor, size: int = BLOCK) -> Iterator[bytes]:
    """Yield a tensor's bytes in blocks of `size`; the last may be shorter."""
    pending = bytearray()
    for piece in tensor.pieces():
        pending += piece
        while len(pending) >= size:
            yield bytes(pending[:size])
            del pending[:size]
    if pending:
        yield bytes(pending)


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Say whether two tensors of one dtype and shape hold the same bytes; variants are compared as they are stored.

    >>> import numpy as np
    >>> same_bytes(Tensor.of("a", np.array([0.0, np.nan])), Tensor.of("b", np.array([0.0, np.nan])))
    True
    """
    if a.dtype.itemsize:
        return all(one == other for one, other in zip(blocks(a), blocks(b), strict=True))
    raw_a, raw_b = (getattr(tensor, "stored_bytes", None) for tensor in (a, b))
    if raw_a and raw_b:
        return bool(raw_a() == raw_b())
    return bool(a.read().tolist() == b.read().tolist())
