"""Shapes that TensorFlow saves but NumPy, or another format, does not have."""

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.convert import plan_convert

MANY, EMPTY_AND_HUGE = (1,) * 70, (0, 1 << 60)


@pytest.mark.parametrize("shape", [MANY, EMPTY_AND_HUGE])
@pytest.mark.parametrize("version", [1, 2])
def test_a_tensor_that_numpy_cannot_have_is_listed_but_not_read(tmp_path, shape, version):
    tf = pytest.importorskip("tensorflow")
    path, value = str(tmp_path / "x.ckpt"), tf.zeros(shape, tf.float64)
    if version == 1:
        tf.raw_ops.Save(filename=path, tensor_names=["w"], data=[value])
    else:
        tf.raw_ops.SaveV2(prefix=path, tensor_names=["w"], shape_and_slices=[""], tensors=[value])

    opened = checkpoint.open(path)
    assert opened["w"].shape == shape
    with pytest.raises(FormatError, match=r"^w cannot be a NumPy array: "):
        opened["w"].read()
    for name in ("npz", "safetensors", "hdf5"):
        with pytest.raises(FormatError, match=r"w \(of (70 dimensions, at most|the shape)"):
            plan_convert(opened, name)


@pytest.mark.parametrize(("suffix", "most"), [("h5", 32), ("npz", 64), ("safetensors", 64), ("ckpt", 254)])
def test_more_dimensions_than_a_format_stores(tmp_path, suffix, most):
    path = tmp_path / f"x.{suffix}"
    checkpoint.save({"w": np.ones((1,) * min(most, 64))}, path)
    assert checkpoint.open(path)["w"].read().ndim == min(most, 64)

    with pytest.raises(FormatError, match=f"w is of {most + 1} dimensions, at most {most} are stored"):
        checkpoint.save({"w": many_dimensions(most + 1)}, tmp_path / f"y.{suffix}")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("y")] == []


def many_dimensions(number):
    one = Tensor.of("w", np.ones(1))
    return Tensor(type(one.spec)("w", (1,) * number, one.dtype), one.read, one.pieces)


def test_hdf5_has_no_more_dimensions(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file, pytest.raises(ValueError, match="dimensionality is too large"):
        file["w"] = np.ones((1,) * 33)
