"""Hashes of tensors' content, independent of the file format, by which a patch identifies its base."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.wire import varint
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.surgery.blocks import by_name


def hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the hash of each tensor, by name.

    Raises:
        CorruptCheckpoint: a checksum does not match.
    """
    return by_name(list(tensors), lambda name: tensor_hash(tensors[name]), [tensors])


def tensor_hash(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's elements, in C order and little-endian; strings include their lengths.

    >>> import numpy as np
    >>> tensor_hash(Tensor.of("x", np.zeros(2, np.uint8))) == hashlib.sha256(bytes(2)).hexdigest()
    True
    """
    total = hashlib.sha256()
    if tensor.dtype.itemsize:
        for piece in tensor.pieces():
            total.update(piece)
    else:
        total.update(string_bytes(tensor))
    return total.hexdigest()


def string_bytes(tensor: Tensor) -> bytes:
    """Return concatenated strings, each preceded by its length; a variant in the form of its checkpoint."""
    stored = getattr(tensor, "stored_bytes", None)
    if stored:
        return bytes(stored())
    texts = as_bytes(tensor.read().ravel().tolist(), tensor.name)
    return b"".join(part for text in texts for part in (varint.encode(len(text)), text))


def whole_hash(parts: Iterable[tuple[TensorSpec, str]]) -> str:
    """Return the hash of a checkpoint: the SHA-256 of a line of JSON per tensor, in the order of names."""
    lines = sorted(json.dumps([spec.name, spec.dtype.name, list(spec.shape), hash_]) for spec, hash_ in parts)
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
