"""Blocks of tensors packed as differences: every bit is restored, and no more than the declared size."""

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.dtypes import BY_NAME, DTYPES
from ckpttool.formats.patch.coding import BLOCKS, DIFFERENCE, WAYS, WHOLE, XOR, in_blocks, packed, unpacked

NUMBERS = [dtype for dtype in DTYPES if dtype.itemsize]


@given(st.sampled_from(NUMBERS), st.sampled_from(WAYS), st.integers(1, 40), st.data())
def test_any_bits_of_any_dtype_come_back(dtype: object, way: str, count: int, data: st.DataObject) -> None:
    size = count * dtype.itemsize  # type: ignore[attr-defined]
    old, new = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))
    raw = packed(new, old, dtype, way)  # type: ignore[arg-type]
    assert len(raw) <= size
    assert unpacked(raw, size, old, dtype, way) == new  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [DIFFERENCE, XOR])
def test_nan_infinities_and_zeros_of_both_signs_keep_their_bits(way: str) -> None:
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.0] * 40)
    old, new = odd.tobytes(), odd[::-1].tobytes()
    assert unpacked(packed(new, old, BY_NAME["float64"], way), len(new), old, BY_NAME["float64"], way) == new


def test_small_steps_of_floats_pack_better_as_differences_than_as_bits() -> None:
    random = np.random.default_rng(0)
    old = random.normal(0, 0.02, 1 << 16).astype(np.float32)
    new = (old + random.normal(0, 2e-6, old.shape)).astype(np.float32)
    sizes = {way: len(packed(new.tobytes(), old.tobytes(), BY_NAME["float32"], way)) for way in WAYS}
    assert sizes[DIFFERENCE] < sizes[XOR] < sizes[WHOLE] < new.nbytes
    assert sizes[DIFFERENCE] < 0.55 * len(bytes(cramjam.zstd.compress(new.tobytes(), 19)))


def test_nothing_unpacks_to_more_than_was_said() -> None:
    bomb = bytes(cramjam.zstd.compress(bytes(1 << 24)))
    for nbytes in (1 << 10, 1 << 25):
        with pytest.raises(ValueError, match="decompress"):
            unpacked(bomb, nbytes, None, BY_NAME["uint8"], WHOLE)
    with pytest.raises(ValueError, match="does not decompress to 64"):
        unpacked(b"no frame", 64, None, BY_NAME["uint8"], WHOLE)
    smallest = len(bytes(cramjam.zstd.compress(bytes(BLOCKS[WHOLE]))))
    assert BLOCKS[WHOLE] / smallest < 1000


def test_pieces_of_any_length_become_blocks_of_one() -> None:
    pieces = [b"a" * 7, b"", b"b" * 3, b"c" * 20]
    blocks = [bytes(block) for block in in_blocks(pieces, 8)]
    assert [len(block) for block in blocks] == [8, 8, 8, 6]
    assert b"".join(blocks) == b"".join(pieces)
