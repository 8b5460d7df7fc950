import math
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.tensors import PIECE, Tensor
from ckpttool.surgery.diff import TensorChange, diff


def tensors(**arrays):
    return {name: Tensor.of(name, np.asarray(array)) for name, array in arrays.items()}


def test_all_kinds_of_difference():
    a = tensors(gone=[1.0], kernel=[1.0, 4.0], same=[[1, 2]], shape=[1.0, 2.0], text=np.array([b"a"], object))
    b = tensors(kernel=[1.0, 3.0], same=[[1, 2]], shape=[[1.0, 2.0]], text=np.array([b"b"], object), new=[1])
    found = diff(a, b)
    assert (found.only_a, found.only_b, found.same, found.equal) == (("gone",), ("new",), ("same",), False)
    measured = (1.0, math.sqrt(17), pytest.approx(13 / math.sqrt(170)), 0, 0, 0, 0, pytest.approx(13 / 17))
    assert found.changed == (
        TensorChange("kernel", 1.0, 0.25, "values", *measured),
        TensorChange("shape", None, None, "shape [2] against [1, 2]"),
        TensorChange("text", None, None, "string contents"),
    )


@pytest.mark.parametrize(
    "array",
    [
        [np.nan, 1.0, np.inf, -np.inf],
        [],
        5,
        [True],
        [1 + 2j],
        np.array([b"x", b""], object),
        np.ones(2, ml_dtypes.int4),
    ],
)
def test_a_checkpoint_is_equal_to_itself(array):
    assert diff(tensors(a=array), tensors(a=array)).equal


def test_texts_are_equal_to_texts_alone():
    one, same = (tensors(a=np.array([b"x"], object)) for _ in range(2))
    assert diff(one, same).equal
    (change,) = diff(one, tensors(a=[1.0])).changed
    assert change.why == "string against float64"


def test_a_layer_with_what_cannot_be_compared_did_not_move_by_anything():
    one = tensors(**{"fc/kernel": [1.0], "fc/text": np.array([b"x"], object)})
    other = tensors(**{"fc/kernel": [2.0], "fc/text": np.array([b"y"], object)})
    for a, b in ((one, other), (one, {"fc/kernel": other["fc/kernel"]})):
        (layer,) = diff(a, b).layers
        assert (layer.difference, layer.relative_l2) == ("not comparable", None)


def test_a_layer_whose_weights_are_here_and_there_is_not_comparable():
    (layer,) = diff(tensors(**{"fc/kernel": [1.0]}), tensors(**{"fc/bias": [1.0]})).layers
    assert layer.difference == "not comparable"


def test_nan_equals_nan_whatever_its_bits():
    other = np.array([0x7FC00001], np.uint32).view(np.float32)
    assert diff(tensors(a=np.array([np.nan], np.float32)), tensors(a=other)).equal


def test_zero_equals_negative_zero():
    assert diff(tensors(a=[0.0]), tensors(a=[-0.0])).equal


@pytest.mark.parametrize(
    ("a", "b", "max_abs", "relative"),
    [
        ([np.nan], [1.0], np.inf, np.inf),
        ([np.inf, 2.0], [1.0, 2.0], np.inf, np.inf),
        ([0.0], [1e-3], 1e-3, np.inf),
        ([np.inf], [-np.inf], np.inf, np.inf),
        ([True, False], [True, True], 1.0, 1.0),
        ([3 + 4j], [0j], 5.0, 1.0),
        (np.array([2**63 - 1]), np.array([2**63 - 2]), 1.0, 2.0**-63),
        (np.array([0], np.uint64), np.array([2**64 - 1], np.uint64), 2.0**64, np.inf),
        (np.array([1.5], ml_dtypes.bfloat16), np.array([1.0], ml_dtypes.bfloat16), 0.5, 1 / 3),
    ],
)
def test_how_much(a, b, max_abs, relative):
    (change,) = diff(tensors(t=a), tensors(t=b)).changed
    assert change.max_abs == max_abs
    assert change.relative == pytest.approx(relative)


def test_another_dtype_is_a_change_with_its_size():
    values = np.array([1 / 3, 2.0], np.float32)
    (change,) = diff(tensors(t=values), tensors(t=values.astype(np.float16))).changed
    assert change.why == "float32 against float16"
    assert change.max_abs == pytest.approx(8.138e-5, rel=1e-3)
    (change,) = diff(tensors(t=[1]), tensors(t=[1.0])).changed
    assert (change.why, change.max_abs, change.relative) == ("int64 against float64", 0.0, 0.0)


def test_a_difference_in_the_last_of_many_pieces_in_bounded_memory(tmp_path):
    big = np.zeros(12 * PIECE // 4, np.float32)
    checkpoint.save({"t": big}, tmp_path / "a")
    big[0], big[-1] = 8.0, 2.0
    checkpoint.save({"t": big}, tmp_path / "b")
    one, other = checkpoint.open(tmp_path / "a"), checkpoint.open(tmp_path / "b")
    tracemalloc.start()
    (change,) = diff(other, one).changed
    assert tracemalloc.get_traced_memory()[1] < 8 * PIECE
    tracemalloc.stop()
    assert (change.max_abs, change.relative) == (8.0, 1.0)
