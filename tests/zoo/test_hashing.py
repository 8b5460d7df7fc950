"""Hashes of tensors: of their bytes, and of texts so that their ends count."""

import hashlib

import numpy as np

from ckpttool.core.tensors import Tensor
from ckpttool.zoo.hashing import TensorHashes


def digest(*texts: bytes) -> str:
    return TensorHashes({"t": Tensor.of("t", np.array(texts, object))}).digests()["t"]


def test_the_hash_of_numbers_is_that_of_their_bytes():
    numbers = np.arange(6, dtype=np.float32)
    hashes = TensorHashes({"w": Tensor.of("w", numbers)}).digests()
    assert hashes == {"w": hashlib.sha256(numbers.tobytes()).hexdigest()}


def test_the_hash_of_texts_has_their_lengths():
    assert digest(b"ab", b"c") == hashlib.sha256(b"\2" + bytes(7) + b"ab" + b"\1" + bytes(7) + b"c").hexdigest()
    assert len({digest(b"ab", b"c"), digest(b"a", b"bc"), digest(b"abc"), digest(b"abc", b"")}) == 4
