"""Batches: the chapter's shuffle_batch, as numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.errors import CkptError
from ckpttool.data.batches import batch_bounds, epoch_order


@given(rows=st.integers(1, 3000), batch_size=st.integers(1, 4000))
def test_batches_are_those_of_array_split(rows: int, batch_size: int) -> None:
    order = np.arange(rows)
    expected = [batch.tolist() for batch in np.array_split(order, max(1, rows // batch_size))]
    bounds = batch_bounds(rows, batch_size)
    assert [order[start:stop].tolist() for start, stop in pairwise(bounds)] == expected


def test_the_chapters_batches() -> None:
    assert len(batch_bounds(55_000, 200)) == 276
    assert np.diff(batch_bounds(55_000, 200)).tolist() == [200] * 275
    assert batch_bounds(150, 200).tolist() == [0, 150]


@given(rows=st.integers(0, 500), seed=st.integers(0, 2**64), epoch=st.integers(0, 1000))
def test_an_epoch_has_every_row_once_and_can_be_had_again(rows: int, seed: int, epoch: int) -> None:
    order = epoch_order(rows, seed, epoch)
    assert sorted(order.tolist()) == list(range(rows))
    assert order.tolist() == epoch_order(rows, seed, epoch).tolist()


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_the_order_is_the_same_on_every_machine() -> None:
    assert epoch_order(8, seed=42, epoch=3).tolist() == [3, 1, 2, 7, 0, 5, 4, 6]


def test_nonsense_is_refused() -> None:
    with pytest.raises(CkptError, match="batch size 0, expected 1 or more"):
        batch_bounds(10, 0)
    with pytest.raises(CkptError, match="seed -1 is negative"):
        epoch_order(10, -1, 0)


def test_a_buffer_takes_each_row_once_and_keeps_what_is_read_together_near() -> None:
    order = epoch_order(10_000, seed=3, epoch=1, buffer=1024)
    assert sorted(order.tolist()) == list(range(10_000))
    assert order.tolist() == epoch_order(10_000, seed=3, epoch=1, buffer=1024).tolist()
    assert order.tolist() != epoch_order(10_000, seed=3, epoch=2, buffer=1024).tolist()
    blocks = {len({row // 256 for row in order[start : start + 1024].tolist()}) for start in range(0, 9_000, 1024)}
    assert blocks <= {4, 5}, "a window has rows of few blocks"
    assert not np.array_equal(np.sort(order[:1024]), order[:1024])
