"""Edits of shapes: errors, and tensors that are changed too. The values are tested in test_against_dicts.py."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.surgery.edits import Edit
from ckpttool.surgery.edits.shapes import Pad, Reshape, Slice, Transpose


@pytest.fixture
def ckpt() -> Checkpoint:
    return Checkpoint.of(
        {
            "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
            "fc/kernel/Adam": np.arange(6, dtype=np.float32).reshape(2, 3),
            "fc/kernel/local_step": np.array(3, np.int64),
            "fc/bias": np.zeros(3, np.float32),
            "words": np.array([b"a", b"b"], object),
        }
    )


def test_slots_are_changed_with_their_variables_and_scalars_stay(ckpt: Checkpoint) -> None:
    found = Transpose("fc/kernel", (1, 0)).apply(ckpt)
    assert [found[name].shape for name in found] == [(3, 2), (3, 2), (), (3,), (2,)]
    assert found["fc/kernel/Adam"].read().tolist() == [[0, 3], [1, 4], [2, 5]]


def test_strings_have_shapes_too(ckpt: Checkpoint) -> None:
    assert Slice("words", 0, -1, None).apply(ckpt)["words"].read().tolist() == [b"b"]


def test_a_reshaped_tensor_is_still_copied_by_the_system(ckpt: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(ckpt, tmp_path / "a.ckpt")
    source = checkpoint.open(tmp_path / "a.ckpt")
    found = Reshape("fc/kernel", (3, -1)).apply(source)
    assert (found["fc/kernel"].shape, found["fc/kernel"].extent) == ((3, 2), source["fc/kernel"].extent)
    checkpoint.save(found, tmp_path / "b.ckpt")
    assert checkpoint.open(tmp_path / "b.ckpt")["fc/kernel"].read().tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, ml_dtypes.float8_e4m3fn, ml_dtypes.int4])
def test_narrow_numbers_are_padded_as_others_are(dtype: type) -> None:
    ckpt = Checkpoint.of({"x": np.array([1, 2], dtype)})
    found = Pad("x", 0, 1, 0, value=3).apply(ckpt)["x"]
    assert (found.dtype, found.read().astype(int).tolist()) == (ckpt["x"].dtype, [3, 1, 2])
    assert b"".join(found.pieces()) == np.array([3, 1, 2], dtype).tobytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Transpose("fc", (1, 0)), r"fc/bias is \[3\]: 1,0 is not an order of 1 dimension"),
        (Transpose("fc/kernel", (0, 0)), "0,0 is not an order of 2 dimensions"),
        (
            Reshape("fc/kernel", (4, -1)),
            r"fc/kernel is \[2, 3\], 6 elements: they cannot be reshaped to \[4, -1\]",
        ),
        (Reshape("fc/kernel", (-1, -1)), r"cannot be reshaped to \[-1, -1\]"),
        (Reshape("fc/kernel", (-2, -3)), r"cannot be reshaped to \[-2, -3\]"),
        (Slice("fc/kernel", 2, 0, 1), r"fc/kernel is \[2, 3\]: it has no axis 2"),
        (Slice("fc/kernel", 1, 0, 4), "0:4 selects nothing, or more than the axis has"),
        (Slice("fc/kernel", 1, 2, 2), "2:2 selects nothing"),
        (Pad("words", 0, 1, 1), "words has string elements, which cannot be padded"),
        (Pad("fc/kernel", 1, 1, 1, value=1e39), "fc/kernel: 1e\\+39 does not fit into float32"),
    ],
)
def test_what_is_refused(ckpt: Checkpoint, edit: Edit, message: str) -> None:
    with pytest.raises(CkptError, match=message):
        edit.apply(ckpt)


def test_a_slot_of_another_shape_cannot_go_along(ckpt: Checkpoint) -> None:
    odd = Checkpoint.of({**{name: t.read() for name, t in ckpt.items()}, "fc/kernel/Ftrl": np.zeros(2)})
    with pytest.raises(
        PlanError, match=r"fc/kernel/Ftrl is \[2\] and cannot be changed together with fc/kernel, .*`drop_slots`"
    ):
        Transpose("fc/kernel", (1, 0)).apply(odd)
