"""NumPy arrays among PyTorch's tensors: read unchanged; those that are not numeric are named, and nothing is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray, NumpyType, numpy_type

ARRAYS: dict[str, Any] = {
    "plain": np.arange(4, dtype=np.float32).reshape(2, 2),
    "scalar": np.float32(3.5),
    "empty": np.zeros((0, 3)),
    "big": np.arange(6, dtype=">i4").reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "complex": np.array([1 + 2j], np.complex64),
    "truths": np.array([True, False]),
    "half": np.array([2.0], np.float16),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_are_tensors_of_the_state_dict(tmp_path: Path, protocol: int) -> None:
    state = {"weight": torch.ones(2), **ARRAYS}
    torch.save({"model": state, "stats": np.array([0.5])}, tmp_path / "a.pth", pickle_protocol=protocol)
    ckpt = checkpoint.open(tmp_path / "a.pth")
    assert (list(ckpt), ckpt.left_out) == (list(state), ("stats",))
    for name, array in ARRAYS.items():
        read = ckpt[name].read()
        assert (read.dtype, read.shape) == (array.dtype.newbyteorder("="), array.shape), name
        np.testing.assert_array_equal(read, array)


def test_a_file_of_arrays_alone_is_whole(tmp_path: Path) -> None:
    torch.save(ARRAYS, tmp_path / "a.pth")
    ckpt = checkpoint.open(tmp_path / "a.pth")
    checkpoint.save(ckpt, tmp_path / "a.npz")
    assert {name: tensor.read().tolist() for name, tensor in checkpoint.open(tmp_path / "a.npz").items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


def test_what_is_no_array_of_numbers_is_named_by_its_path(tmp_path: Path) -> None:
    state = {"weight": torch.ones(2), "names": np.array(["ab"]), "objects": np.array(["a", None], object)}
    torch.save({"model": state, "extra": {"more": [np.array(["x"]), torch.zeros(1)]}}, tmp_path / "a.pth")
    ckpt = checkpoint.open(tmp_path / "a.pth")
    assert list(ckpt) == ["weight", "extra/more/1"]
    assert ckpt.left_out == ("names", "objects", "extra/more/0")


@pytest.mark.parametrize(
    "state",
    [
        None,
        (1, (2,), "f4", False, b""),
        (1, (-1,), NumpyType(None), False, b""),
        (1, (2,), numpy_type(("f4",)), False, b"1234"),
        (1, (1 << 62, 1 << 62), numpy_type(("f4",)), False, b""),
    ],
    ids=["none", "no dtype", "negative", "too few bytes", "huge"],
)
def test_a_state_that_cannot_be_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="of NumPy"):
        NumpyArray().build(state)
