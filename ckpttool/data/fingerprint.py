"""Fingerprints: the content of a data set as a short text, for cache keys and run reports."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ckpttool.data.dataset import Split
from ckpttool.tensors import PIECE, Array


def fingerprint(split: Split) -> str:
    """Return a hash of a split's arrays: names, dtypes, shapes and bytes (BLAKE2b, 32 hex digits).

    Where the stored array is known it is hashed instead of the one made of it (bytes are a quarter of floats), with
    the dtype and shape that it was given: together they say what was made of it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(split.inputs.items()):
        column = split.stored.get(name)
        _add(digest, f"input {name}", array, column.array if column else array)
    if split.labels is not None:
        _add(digest, "labels", split.labels, split.labels_stored.array if split.labels_stored else split.labels)
    return digest.hexdigest()


def _add(digest: "hashlib.blake2b", name: str, array: Array, stored: Array) -> None:
    facts = (name, array.dtype.name, array.shape, stored.dtype.str, stored.shape)
    digest.update(repr(facts).encode())
    digest.update(_content(stored))


def _content(array: Array) -> bytes:
    """Hash an array's pieces on all processors (hashlib lets go of the interpreter), then the pieces' hashes."""
    view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    pieces = [view[start : start + PIECE] for start in range(0, len(view), PIECE)]
    with ThreadPoolExecutor() as pool:
        leaves = pool.map(lambda piece: hashlib.blake2b(piece, digest_size=32).digest(), pieces)
    return b"".join(leaves)
