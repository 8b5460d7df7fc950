"""Fingerprints: hashes of the contents of data sets, for cache keys and run reports."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ckpttool.core.tensors import PIECE, Array
from ckpttool.data.rows import Rows, batched, pieces
from ckpttool.data.splits import Split

AT_ONCE = 16
"""Number of pieces that are in memory at a time."""


def fingerprint(split: Split) -> str:
    """Return a hash of a split's arrays: names, dtypes, shapes and bytes (BLAKE2b, 32 hex digits).

    If the stored array is known, it is hashed instead of the array made from it (bytes are a quarter of floats),
    together with the dtype and shape of the latter: they determine it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(split.inputs.items()):
        column = split.stored.get(name)
        _add(digest, f"input {name}", array, column.array if column else array)
    if split.labels is not None:
        _add(digest, "labels", split.labels, split.labels_stored.array if split.labels_stored else split.labels)
    return digest.hexdigest()


def _add(digest: "hashlib.blake2b", name: str, array: Rows, stored: Rows) -> None:
    facts = (name, array.dtype.name, array.shape, stored.dtype.str, stored.shape)
    digest.update(repr(facts).encode())
    digest.update(_content(stored))


def _content(rows: Rows) -> bytes:
    """Hash pieces of rows on all processors (hashlib releases the GIL); the pieces depend on the rows alone.

    At most `AT_ONCE` pieces are in memory at a time.
    """
    with ThreadPoolExecutor() as pool:
        parts = batched((piece for _, piece in pieces(rows, PIECE)), AT_ONCE)
        return b"".join(leaf for part in parts for leaf in pool.map(_hash, part))


def _hash(piece: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data, digest_size=32).digest()
