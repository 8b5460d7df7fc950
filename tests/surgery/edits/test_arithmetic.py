"""Numbers multiplied and clipped."""

import re

import ml_dtypes
import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.arithmetic import Clamp, Scale


def test_numbers_of_every_dtype_are_multiplied_in_float64_and_rounded_once() -> None:
    ckpt = Checkpoint.of(
        {
            "wide": np.array([1.5, -2.0, np.nan, np.inf]),
            "narrow": np.array([1.0, 3.0], ml_dtypes.bfloat16),
            "whole": np.array([2, 4], np.int32),
            "other": np.ones(2, np.float32),
        }
    )
    scaled = Scale.parse("wide|narrow|whole = 0.5").apply(ckpt)
    np.testing.assert_array_equal(scaled["wide"].read(), [0.75, -1.0, np.nan, np.inf])
    assert scaled["narrow"].read().astype(float).tolist() == [0.5, 1.5]
    assert (scaled["whole"].dtype.name, scaled["whole"].read().tolist()) == ("int32", [1, 2])
    assert scaled["other"] is ckpt["other"]


def test_a_product_that_its_dtype_does_not_hold_is_an_error_when_it_is_read() -> None:
    for values, factor in ((np.array([60000.0], np.float16), "2"), (np.array([3], np.int8), "0.5")):
        scaled = Scale.parse(f"w={factor}").apply(Checkpoint.of({"w": values}))
        with pytest.raises(CkptError, match=r"w: .* does not fit into"):
            scaled["w"].read()


def test_slots_stay_unless_they_are_asked_for() -> None:
    ckpt = Checkpoint.of({"w": np.ones(1), "w/Momentum": np.ones(1)})
    assert [tensor.read().tolist() for tensor in Scale("w.*", 2).apply(ckpt).values()] == [[2.0], [1.0]]
    assert [tensor.read().tolist() for tensor in Scale("w.*", 2, slots=True).apply(ckpt).values()] == [[2.0], [2.0]]


def test_bounds_may_be_open_and_nan_stays() -> None:
    ckpt = Checkpoint.of({"w": np.array([-5.0, 0.5, 9.0, np.nan], np.float32)})
    for text, expected in (("-1,1", [-1, 0.5, 1]), ("-inf,1", [-5, 0.5, 1]), ("0.5,inf", [0.5, 0.5, 9])):
        found = Clamp.parse(f"w={text}").apply(ckpt)["w"]
        assert found.dtype.name == "float32"
        np.testing.assert_array_equal(found.read(), np.array([*expected, np.nan], np.float32))


@pytest.mark.parametrize(
    ("edit", "text", "error"),
    [
        (Scale, "w", "expected 'RE=0.5'"),
        (Scale, "w=big", "'big' is not a number"),
        (Scale, "w=inf", "expected a finite number"),
        (Scale, "w=nan", "expected a finite number"),
        (Clamp, "w=1", "expected 'RE=-1,1'"),
        (Clamp, "w=1,-1", "no number is between 1 and -1"),
        (Clamp, "w=nan,1", "no number is between nan and 1"),
    ],
)
def test_what_is_no_factor_and_no_bounds(edit: type[Scale] | type[Clamp], text: str, error: str) -> None:
    with pytest.raises(PlanError, match=re.escape(error)):
        edit.parse(text)


def test_what_cannot_be_computed_with_and_what_is_not_there() -> None:
    ckpt = Checkpoint.of({"flag": np.array([True]), "w": np.ones(1)})
    with pytest.raises(PlanError, match="flag has bool elements, which cannot be clamped"):
        Clamp("flag", 0, 1).apply(ckpt)
    with pytest.raises(UnknownName, match="nothing"):
        Scale("absent", 2).apply(ckpt)
