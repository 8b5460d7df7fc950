"""Averages, compared with those of plain dicts of NumPy arrays; tensors taken from the last one; errors."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.surgery.average import average, plan_average

Arrays = dict[str, Any]
DTYPES = [*map(np.dtype, ("f4", "f8", "f2", "c8")), *map(np.dtype, (ml_dtypes.bfloat16, ml_dtypes.float8_e5m2))]
SHAPES = {"conv/kernel": (3, 2), "fc/bias": (5,), "scale": ()}


def model(seed: int, dtypes: list[Any]) -> Arrays:
    """Weights of several dtypes, a slot, a counter, integers and strings."""
    draw = np.random.default_rng(seed)
    values = {name: draw.normal(size=shape) for name, shape in SHAPES.items()}
    weights = {
        name: np.asarray(array).astype(dtype) for (name, array), dtype in zip(values.items(), dtypes, strict=True)
    }
    others = {
        "conv/kernel/Momentum": np.full((3, 2), seed, np.float32),
        "global_step": np.array(seed, np.int64),
        "lookup": np.arange(seed, seed + 4, dtype=np.int32),
        "nibbles": np.array([seed % 7, 1]).astype(ml_dtypes.int4),
        "on": np.array([True, False]),
        "words": np.array([b"a", str(seed).encode()], object),
    }
    return weights | others


def expected(models: list[Arrays], weights: list[float]) -> Arrays:
    """The mean in float64 (or complex128), rounded once; everything else is the last one's."""
    total = dict(models[-1])
    for name in SHAPES:
        dtype = models[-1][name].dtype
        wide = np.complex128 if dtype.kind == "c" else np.float64
        summed = sum(
            weight * np.asarray(arrays[name]).astype(wide) for weight, arrays in zip(weights, models, strict=True)
        )
        total[name] = np.asarray(summed / sum(weights)).astype(dtype)
    return total


def require_close(found: Checkpoint, wanted: Arrays) -> None:
    """Weights are equal up to the last digit of their dtype; all else is identical."""
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        values = found[name].read()
        assert (values.dtype, values.shape) == (array.dtype, array.shape), name
        if name not in SHAPES:
            assert values.tolist() == array.tolist(), name
            continue
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        digits = ml_dtypes.finfo(array.dtype).eps if array.dtype.kind != "c" else np.finfo(array.dtype).eps
        assert np.allclose(values.astype(wide), array.astype(wide), rtol=float(digits), atol=1e-300), name


SOME = st.lists(st.integers(1, 90), min_size=2, max_size=5, unique=True)
KINDS = st.lists(st.sampled_from(DTYPES), min_size=3, max_size=3)


@settings(deadline=None)
@given(SOME, KINDS)
def test_the_mean_is_that_of_dicts(seeds: list[int], dtypes: list[Any]) -> None:
    models = [model(seed, dtypes) for seed in seeds]
    require_close(average([Checkpoint.of(arrays) for arrays in models]), expected(models, [1.0] * len(seeds)))


@settings(deadline=None)
@given(SOME, KINDS, st.data())
def test_a_weighted_mean_is_that_of_dicts(seeds: list[int], dtypes: list[Any], data: Any) -> None:
    numbers = st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=len(seeds), max_size=len(seeds))
    weights = data.draw(numbers.filter(any))
    models = [model(seed, dtypes) for seed in seeds]
    require_close(average([Checkpoint.of(arrays) for arrays in models], weights), expected(models, weights))


@settings(deadline=None)
@given(SOME, st.sampled_from([0.0, 0.5, 0.9]))
def test_a_moving_average_is_the_loop_that_it_stands_for(seeds: list[int], decay: float) -> None:
    models = [model(seed, [np.dtype(np.float64)] * 3) for seed in seeds]
    moving = {name: models[0][name] for name in SHAPES}
    for arrays in models[1:]:
        moving = {name: decay * moving[name] + (1 - decay) * arrays[name] for name in SHAPES}
    found = average([Checkpoint.of(arrays) for arrays in models], decay=decay)
    for name in SHAPES:
        assert np.allclose(found[name].read(), moving[name], rtol=1e-12, atol=1e-14)


def test_a_mean_of_float32_is_rounded_once(tmp_path: Any) -> None:
    """Tensors of several blocks, from files: the float64 mean of three float32 numbers is rounded to the nearest."""
    draw = np.random.default_rng(1)
    arrays = [draw.normal(size=(700, 500)).astype(np.float32) for _ in range(3)]
    for number, array in enumerate(arrays):
        checkpoint.save({"kernel": array, "bias": array[0]}, tmp_path / f"m-{number}")
    found = average([checkpoint.open(tmp_path / f"m-{number}") for number in range(3)])
    exact = np.stack([array.astype(np.longdouble) for array in arrays]).mean(0).astype(np.float32)
    assert np.array_equal(found["kernel"].read(), exact)
    assert np.array_equal(found["bias"].read(), exact[0])
    assert b"".join(found["kernel"].pieces()) == exact.tobytes()


def test_rows_say_what_becomes_of_each_tensor() -> None:
    models = [Checkpoint.of({"fc/bias": np.ones(2, np.float32), "global_step": np.array(n)}) for n in (1, 2)]
    assert plan_average(models).rows == (
        {"name": "fc/bias", "shape": [2], "dtype": "float32", "bytes": 8, "then": "averaged"},
        {"name": "global_step", "shape": [], "dtype": "int64", "bytes": 8, "then": "from the last"},
    )


def test_nan_and_infinities_are_noted_with_the_checkpoint_that_has_them() -> None:
    values = {"good": np.ones(2), "large": np.full(2, 1.5e308), "whole": np.array([1.0, 2.0])}
    bad = values | {"whole": np.array([np.nan, 2.0])}
    plan = plan_average([Checkpoint.of(values), Checkpoint.of(bad)])
    assert plan.flaws == {}
    assert np.isnan(plan.tensors["whole"].read()).tolist() == [True, False]
    assert b"".join(plan.tensors["large"].pieces()) == np.full(2, np.inf).tobytes()
    plan.tensors["good"].read()
    assert plan.flaws == {
        "whole": "whole has NaN or infinities, as in checkpoint 2",
        "large": "large has NaN or infinities, though no checkpoint does: its numbers are too large",
    }


A = {"fc/kernel": np.zeros((2, 3), np.float32), "fc/bias": np.zeros(3, np.float32)}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"fc/kernel": np.zeros((3, 2), np.float32)},
         r"fc/kernel is float32 \[2, 3\] in checkpoint 1, float32 \[3, 2\] in checkpoint 2"),
        ({"fc/kernel": np.zeros((2, 3), np.float64)},
         r"fc/kernel is float32 \[2, 3\] in checkpoint 1, float64 \[2, 3\] in checkpoint 2"),
        ({"out/bias": np.zeros(1, np.float32)},
         r"out/bias is missing in checkpoint 1, float32 \[1\] in checkpoint 2"),
        ({"fc/bias": None}, r"fc/bias is float32 \[3\] in checkpoint 1, missing in checkpoint 2"),
    ],
)  # fmt: skip
def test_weights_must_agree(other: Arrays, why: str) -> None:
    merged = {name: array for name, array in (A | other).items() if array is not None}
    pair = [Checkpoint.of(A), Checkpoint.of(merged)]
    with pytest.raises(PlanError, match=f"{why}; `lenient` omits such tensors"):
        average(pair)
    plan = plan_average(pair, lenient=True)
    (left,) = other
    assert list(plan.tensors) == [name for name in A if name != left]
    (note,) = plan.notes
    assert note.startswith(f"skipped: {left} is ")


def test_no_more_than_five_are_named() -> None:
    one, two = ({f"w{n}": np.zeros(size) for n in range(8)} for size in (1, 2))
    with pytest.raises(PlanError, match=r"w0 is .*; w4 is .*; and 3 more; `lenient`") as caught:
        average([Checkpoint.of(one), Checkpoint.of(two)])
    assert "w5" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"weights": [1.0]}, "`weights` has 1 number, expected one for each of 2 checkpoints"),
        ({"weights": [1.0, -1.0]}, "`weights` 1,-1: expected numbers of 0 or more, and not all 0"),
        ({"weights": [0.0, 0.0]}, "expected numbers of 0 or more, and not all 0"),
        ({"weights": [1.0, np.nan]}, "`weights` 1,nan"),
        ({"decay": 1.0}, "`decay` 1: expected 0 or more, and less than 1"),
        ({"decay": 0.5, "weights": [1.0, 1.0]}, "one another"),
    ],
)
def test_numbers_that_are_no_weights(how: Any, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        average([Checkpoint.of(A)] * 2, **how)


def test_one_alone_has_no_average() -> None:
    for few in ([], [Checkpoint.of(A)]):
        with pytest.raises(PlanError, match=f"{len(few)} checkpoints?, expected two or more"):
            average(few)
