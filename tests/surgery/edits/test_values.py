"""Edits of values: casts, pruning, values from elsewhere, quantising and back."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.pruning import Prune
from ckpttool.surgery.edits.quantising import Dequantise, Quantise
from ckpttool.surgery.edits.values import Cast, SetValue

VALUES = {
    "fc/kernel": np.array([[1.5, -300.0], [0.0, 2.0]], np.float32),
    "fc/kernel/Momentum": np.ones((2, 2), np.float32),
    "fc/bias": np.array([0.25, 70000.0], np.float32),
    "ids": np.array([1, 2], np.int64),
    "words": np.array([b"a"], object),
    "global_step": np.array(7, np.int64),
}


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of(VALUES)


def dtypes(ckpt: Checkpoint) -> dict[str, str]:
    """The dtypes that differ from the original ones."""
    return {
        name: str(tensor.dtype)
        for name, tensor in ckpt.items()
        if str(tensor.dtype) != str(Checkpoint.of(VALUES)[name].dtype)
    }


def test_a_cast_takes_weights_that_are_floats_unless_told(ckpt: Checkpoint) -> None:
    weights = {"fc/kernel": "bfloat16", "fc/bias": "bfloat16"}
    assert dtypes(Cast("bfloat16").apply(ckpt)) == weights
    assert dtypes(Cast("bfloat16", slots=True).apply(ckpt)) == {**weights, "fc/kernel/Momentum": "bfloat16"}
    assert dtypes(Cast("int32", "ids|global_step").apply(ckpt)) == {"ids": "int32", "global_step": "int32"}


def test_what_does_not_fit_is_said_with_the_name(ckpt: Checkpoint) -> None:
    found = Cast("float16").apply(ckpt)
    for read in (found["fc/bias"].read, lambda: list(found["fc/bias"].pieces())):
        with pytest.raises(CkptError, match=r"fc/bias: 70000.0 does not fit into float16"):
            read()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: Cast("float15").apply(c), "no dtype is named 'float15'; nearest: float1"),
        (lambda c: Cast("float16", "words").apply(c), "words has string elements, which cannot be cast to float16"),
        (lambda c: Cast("string").apply(c), "cannot cast to string"),
        (lambda c: Cast("float16").apply(Checkpoint.of({"ids": np.array([1])})), "there are no floating-point weights"),
        (lambda c: Prune("fc", share=1.5).apply(c), "1.5 is not a fraction of elements"),
        (lambda c: Prune("words", share=0.5).apply(c), "words has string elements, which cannot be pruned"),
        (lambda c: Quantise("int4").apply(c), "cannot quantise to 'int4'; known: float16, bfloat16, int8"),
        (lambda c: Dequantise("float32").apply(c), "no tensor is int8 with a scale"),
        (
            lambda c: Dequantise("float32", "ids").apply(Quantise("int8").apply(c)),
            "no tensor that 'ids' matches is int8",
        ),
        (
            lambda c: Quantise("int8", "fc/kernel").apply(Quantise("int8").apply(c)),
            "there is already a tensor named fc/kernel/scale",
        ),
        (lambda c: SetValue("fc/kernal", 1).apply(c), "no tensor named fc/kernal; nearest: fc/kernel"),
        (lambda c: SetValue("words", 1).apply(c), "words has string elements, which cannot be set"),
        (lambda c: SetValue("ids", 0.5).apply(c), "ids: 0.5 does not fit into int64"),
    ],
)
def test_what_is_refused(ckpt: Checkpoint, edit: Any, message: str) -> None:
    with pytest.raises(CkptError, match=message):
        edit(ckpt)["fc/kernel"].read()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, array_shapes(max_dims=2, max_side=6), elements=FLOATS), st.floats(0, 1))
def test_as_many_are_pruned_as_asked_for_and_none_is_larger_than_one_that_stays(values: Any, share: float) -> None:
    found = Prune("x", share=share).apply(Checkpoint.of({"x": values}))["x"].read()
    gone = found != values
    count = int(share * values.size)
    assert gone.sum() <= count <= (found == 0).sum()
    assert np.array_equal(found[~gone], values[~gone])
    if gone.any():
        assert np.abs(values[gone]).max() <= np.abs(values[found != 0]).min(initial=np.inf)


@given(arrays(np.float32, array_shapes(max_dims=2, max_side=6), elements=FLOATS))
@example(np.array([np.finfo(np.float32).max]))
def test_what_is_quantised_comes_back_to_within_half_a_scale(values: Any) -> None:
    whole = Quantise("int8", "x").apply(Checkpoint.of({"x": values}))
    scale = float(whole["x/scale"].read())
    integers = whole["x"].read()
    assert integers.dtype == np.int8
    assert b"".join(whole["x"].pieces()) == integers.tobytes()
    back = Dequantise("float32").apply(whole)
    assert list(back) == ["x"]
    apart = np.abs(back["x"].read().astype(np.float64) - values.astype(np.float64))
    assert apart.max() <= 0.5001 * scale + (1e-44 if scale == 1 else 0) or scale < 1e-37


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64, np.int8])
def test_other_dtypes_are_pruned_and_quantised(dtype: type) -> None:
    ckpt = Checkpoint.of({"x": np.array([-100, 3, 50, -1], dtype)})
    assert Prune("x", share=0.5).apply(ckpt)["x"].read().astype(int).tolist() == [-100, 0, 50, 0]
    assert Prune("x", below=3).apply(ckpt)["x"].read().astype(int).tolist() == [-100, 3, 50, 0]
    assert Quantise("int8", "x").apply(ckpt)["x"].read().tolist() == [-127, 4, 64, -1]


def test_int8_takes_kernels_and_floats_of_16_bits_take_all(ckpt: Checkpoint) -> None:
    found = Quantise("int8").apply(ckpt)
    assert list(found) == ["fc/kernel", "fc/kernel/scale", *list(VALUES)[1:]]
    assert str(found["fc/kernel"].dtype) == "int8"
    assert dtypes(Quantise("bfloat16").apply(ckpt)) == {"fc/kernel": "bfloat16", "fc/bias": "bfloat16"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_what_has_no_scale(bad: float) -> None:
    found = Quantise("int8").apply(Checkpoint.of({"x": np.array([[1.0, bad, 2.0]])}))
    with pytest.raises(CkptError, match="x contains values that are not finite, or too large: no int8 scale exists"):
        found["x"].read()


def test_zeros_keep_to_zero() -> None:
    found = Quantise("int8").apply(Checkpoint.of({"x": np.zeros((2, 2)), "none": np.zeros((0, 2))}))
    assert (found["x"].read().tolist(), float(found["x/scale"].read())) == ([[0, 0], [0, 0]], 1.0)
    assert found["none"].read().shape == (0, 2)


def test_values_from_files(ckpt: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.array([1, 2], ">i4"))
    np.savez(tmp_path / "b.npz", b=np.array([3.0, 4.0]), kernel=np.ones((3, 2)))
    assert SetValue("fc/bias", tmp_path / "b.npy").apply(ckpt)["fc/bias"].read().tolist() == [1, 2]
    found = SetValue("fc/bias", tmp_path / "b.npz", "b").apply(ckpt)["fc/bias"]
    assert (found.name, str(found.dtype), found.read().tolist()) == ("fc/bias", "float32", [3, 4])
    with pytest.raises(PlanError, match=r"fc/kernel is \[2, 2\], the value from .*b.npz is \[3, 2\]"):
        SetValue("fc/kernel", tmp_path / "b.npz", "kernel").apply(ckpt)
    with pytest.raises(UnknownName, match="no tensor named c"):
        SetValue("fc/kernel", tmp_path / "b.npz", "c").apply(ckpt)
    with pytest.raises(FileNotFoundError):
        SetValue("fc/bias", tmp_path / "none.npy").apply(ckpt)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "x.npy is not a checkpoint .*: its bytes are none of these"),
        (b"hello", "x.npy is not a checkpoint .*: its bytes are none of these"),
        (b"\x93NUMPY\x01\x00", ": the header of x is damaged"),
        (b"\x93NUMPY\x01\x00\x18\x00{'descr': '<f4', 'a'(\n", ": the header of x is damaged"),
    ],
)
def test_files_that_are_no_arrays(ckpt: Checkpoint, tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(CkptError, match=problem):
        SetValue("fc/bias", tmp_path / "x.npy").apply(ckpt)


def test_objects_are_never_unpickled(ckpt: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, []], object), allow_pickle=True)
    problem = r"x.npy: x \(contains Python objects or structures \(object\), which are never read\)"
    with pytest.raises(CkptError, match=problem):
        SetValue("fc/bias", tmp_path / "x.npy").apply(ckpt)
