"""Resizing: the values of new rows, tensors that are resized too, and no loss without a request."""

from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.surgery.edits.resizing import Fill, Mean, Normal, Resize, RowsFill, To, Zeros

MEAN = Mean()
TABLE = np.array([[1, 2], [3, 6]], np.float32)


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of(
        {
            "embeddings": TABLE,
            "embeddings/Adam": TABLE,
            "embeddings/Adagrad": TABLE,
            "embeddings/ExponentialMovingAverage": TABLE,
            "out/kernel": TABLE,
            "out/bias": np.array([4, 6], np.float32),
            "out/bias/Momentum": np.array([1, 1], np.float32),
            "other/bias": np.array([0, 0], np.float32),
            "ids": np.array([1, 2, 4], np.int32),
        }
    )


def resize(ckpt: Checkpoint, pattern: str, to: int, axis: int = 0, fill: Fill = MEAN, **settings: Any) -> Checkpoint:
    return Resize(pattern, To(to, axis, fill), **settings).apply(ckpt)


def grown(ckpt: Checkpoint, *what: Any, **how: Any) -> dict[str, Any]:
    found = resize(ckpt, *what, **how)
    return {name: t.read().tolist() for name, t in found.items() if t.shape != ckpt[name].shape}


def test_the_mean(ckpt: Checkpoint) -> None:
    rows, mean, zeros = TABLE.tolist(), [2, 4], [0, 0]
    assert grown(ckpt, "embeddings", 3) == {
        "embeddings": [*rows, mean],
        "embeddings/Adam": [*rows, zeros],
        "embeddings/Adagrad": [*rows, mean],
        "embeddings/ExponentialMovingAverage": [*rows, mean],
    }


def test_a_head_grows_with_its_bias_and_their_slots(ckpt: Checkpoint) -> None:
    assert grown(ckpt, "out/kernel", 3, axis=1, fill=Zeros()) == {
        "out/kernel": [[1, 2, 0], [3, 6, 0]],
        "out/bias": [4, 6, 0],
        "out/bias/Momentum": [1, 1, 0],
    }
    assert grown(ckpt, "out", 3, axis=1) == grown(ckpt, "out/kernel", 3, axis=-1) == grown(ckpt, "out", 3, axis=-1)


def test_rows_are_copied_in_turn(ckpt: Checkpoint) -> None:
    one, two = TABLE.tolist()
    assert grown(ckpt, "embeddings", 5, fill=RowsFill())["embeddings"] == [one, two, one, two, one]
    assert grown(ckpt, "embeddings", 4, fill=RowsFill((1,)))["embeddings"] == [one, two, two, two]


def test_draws_follow_from_the_seed_and_the_name() -> None:
    wide = Checkpoint.of({name: np.random.default_rng(1).normal(5, 2, (50, 40)) for name in ("a", "b")})
    first, again, other = (resize(wide, ".*", 1050, fill=Normal(), seed=seed) for seed in (1, 1, 2))
    new = {name: tensor.read()[50:] for name, tensor in first.items()}
    assert abs(new["a"].mean() - 5) < 0.1
    assert abs(new["a"].std() - 2) < 0.1
    assert not np.array_equal(new["a"], new["b"])
    assert again["a"].read().tobytes() == first["a"].read().tobytes() != other["a"].read().tobytes()
    assert b"".join(first["a"].pieces()) == first["a"].read().tobytes()


def test_integers_get_whole_numbers(ckpt: Checkpoint) -> None:
    assert grown(ckpt, "ids", 4) == {"ids": [1, 2, 4, 2]}


def test_nothing_is_lost_unasked(ckpt: Checkpoint) -> None:
    with pytest.raises(PlanError, match=r"embeddings is \[2, 2\]: 1 of 2 along axis 0 would be lost; `allow_truncate`"):
        resize(ckpt, "embeddings", 1)
    assert grown(ckpt, "embeddings", 1, allow_truncate=True)["embeddings"] == [[1, 2]]


def test_the_same_size_changes_nothing(ckpt: Checkpoint) -> None:
    found = ckpt.holding(dict(ckpt))
    assert resize(found, "embeddings", 2)["embeddings"] is found["embeddings"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"pattern": "embedings", "to": 3}, "'embedings' matches nothing; nearest: embeddings"),
        ({"pattern": "other", "to": 3, "axis": 1}, r"other/bias is \[2\]: it has no axis 1"),
        ({"pattern": "embeddings", "to": 3, "fill": RowsFill((2,))}, "there is no 2 along axis 0 to copy"),
    ],
)
def test_what_is_refused(ckpt: Checkpoint, how: dict[str, Any], message: str) -> None:
    with pytest.raises(CkptError, match=message):
        resize(ckpt, **how)


def test_of_nothing_only_zeros_are_made() -> None:
    none = Checkpoint.of({"x": np.zeros((0, 2)), "words": np.array([b"a"], object)})
    with pytest.raises(PlanError, match="no elements along axis 0 to make new ones of; fill=zeros"):
        resize(none, "x", 1)
    assert resize(none, "x", 1, fill=Zeros())["x"].read().tolist() == [[0, 0]]
    with pytest.raises(PlanError, match="words has string elements, which cannot be filled with mean"):
        resize(none, "words", 2)
    assert resize(none, "words", 2, fill=RowsFill())["words"].read().tolist() == [b"a", b"a"]
