"""NumPy arrays among PyTorch's tensors: read unchanged; those that are not numeric are named, and nothing is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray, NumpyType, from_buffer, numpy_type, scalar

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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
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
        (1, (0,), numpy_type(("f4",)), False),
        [1, (0,), numpy_type(("f4",)), False, b""],
        (1, (2,), "f4", False, b""),
        (1, [0], NumpyType(None), False, b""),
        (1, (True,), NumpyType(None), False, b""),
        (1, (1,) * 65, NumpyType(None), False, b""),
        (1, (-1,), NumpyType(None), False, b""),
        (1, (2,), numpy_type(("f4",)), False, b"1234"),
        (1, (1 << 62, 1 << 62), numpy_type(("f4",)), False, b""),
    ],
    ids=["none", "four", "list", "no dtype", "shape is a list", "truth", "rank", "negative", "too few bytes", "huge"],
)
def test_a_state_that_cannot_be_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="of NumPy"):
        NumpyArray().build(state)


def test_an_array_of_as_many_dimensions_as_numpy_has_is_read() -> None:
    array = NumpyArray()
    array.build((1, (1,) * 64, numpy_type(("f4",)), False, np.float32(3).tobytes()))
    assert (array.shape, array.raw) == ((1,) * 64, np.float32(3).tobytes())


@pytest.mark.parametrize("state", [None, (3,), [3, ">"]], ids=str)
def test_a_dtype_without_its_byte_order_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="a dtype of NumPy has an invalid state"):
        NumpyType(None).build(state)


@pytest.mark.parametrize(("sign", "big"), [(">", True), ("<", False), ("|", False)])
def test_the_byte_order_of_a_dtype(sign: str, big: bool) -> None:
    kind = numpy_type(("f4", False, True))
    kind.build((3, sign))
    assert kind.big == big
    assert numpy_type(()).dtype is numpy_type((4,)).dtype is numpy_type(("U2",)).dtype is None


def test_a_scalar_and_a_buffer_have_all_their_parts() -> None:
    kind, raw = numpy_type(("f4",)), np.arange(6, dtype="<f4").tobytes()
    for arguments in ((kind,), (kind, raw[:4], 0)):
        with pytest.raises(ValueError, match="a scalar of NumPy has no dtype, or no bytes"):
            scalar(arguments)
    for arguments in ((raw, kind, (6,)), (raw, kind, (6,), "C", 0)):
        with pytest.raises(ValueError, match="an array of NumPy has no dtype, shape or order"):
            from_buffer(arguments)
    assert scalar((kind, raw[4:8])).read().tolist() == 1
    assert from_buffer((bytearray(raw), kind, (2, 3), "F")).read().tolist() == [[0, 2, 4], [1, 3, 5]]
    assert from_buffer((raw, kind, (2, 3), "C")).read().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_has_no_bytes_is_no_array_of_numbers() -> None:
    array = NumpyArray()
    array.build((1, (2,), numpy_type(("f4",)), False, ["a", "b"]))
    assert (array.dtype, array.raw) == (None, b"")
