"""Assertions on values: each is checked whenever a tensor is read, and at the end if nothing read it."""

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.plans.assertions import Checks, Finite, Near, Norm, require_shape


def watched(array, begin, other=None):
    peer = None if other is None else Tensor.of("x", np.asarray(other))
    return Checks().on(Tensor.of("x", np.asarray(array)), begin, "step 1", peer)


def test_values_pass_as_they_are_and_are_checked_each_time():
    big = np.random.default_rng(1).normal(size=(300, 500)).astype(np.float32)
    tensor = watched(big, Finite)
    assert np.array_equal(tensor.read(), big)
    assert b"".join(map(bytes, tensor.pieces())) == big.tobytes()
    flawed = watched([[1.0, np.nan], [np.inf, 0]], Finite)
    for read in (flawed.read, lambda: list(flawed.pieces())):
        with pytest.raises(PlanError, match="step 1: x has 2 elements that are NaN or infinite"):
            read()


def test_scalars_and_nothing():
    assert watched(np.float32(3), Finite).read().tolist() == 3
    assert watched(np.zeros((0, 4)), Finite).read().shape == (0, 4)


def test_norms():
    assert watched([3.0, 4.0], lambda: Norm(5, 5)).read().tolist() == [3, 4]
    with pytest.raises(PlanError, match=r"x has the norm 5, expected 0 to 4\.5"):
        watched([3.0, 4.0], lambda: Norm(0, 4.5)).read()
    with pytest.raises(PlanError, match="x has the norm nan"):
        watched([np.nan], lambda: Norm(0, 9)).read()
    assert watched(np.array([3, 4], ml_dtypes.bfloat16), lambda: Norm(5, 5)).read().shape == (2,)
    assert watched(np.array([3 + 4j]), lambda: Norm(5, 5)).read().shape == (1,)


def test_nearness():
    assert watched([1.0, np.nan, np.inf], lambda: Near(0, "base"), [1.0, np.nan, np.inf]).read().shape == (3,)
    assert watched([1.0, 2.0], lambda: Near(0.1, "base"), [1.05, 2.0]).read().shape == (2,)
    with pytest.raises(PlanError, match=r"differs from base in 1 elements by up to 0\.05, at most 0\.01 is allowed"):
        watched([1.0, 2.0], lambda: Near(0.01, "base"), [1.05, 2.0]).read()
    for one, other in ((np.nan, 1.0), (np.inf, -np.inf), (np.inf, np.nan)):
        with pytest.raises(PlanError, match="by up to inf"):
            watched([one], lambda: Near(1e30, "base"), [other]).read()


def test_imaginary_parts_are_compared_too():
    with pytest.raises(PlanError, match="differs from base in 1 elements by up to 2"):
        watched(np.array([1 + 2j, 3]), lambda: Near(0, "base"), np.array([1, 3], complex)).read()


def test_integers_are_compared_exactly():
    large = 2**53
    with pytest.raises(PlanError, match="differs from base in 1 elements"):
        watched([large + 1], lambda: Near(0, "base"), [large]).read()


def test_texts_have_no_values_to_assert():
    with pytest.raises(PlanError, match="step 1: x has string elements"):
        watched(np.array([b"a"], object), Finite)


def test_what_nobody_read_is_read_at_the_end():
    checks = Checks()
    checks.on(Tensor.of("good", np.ones(2)), Finite, "step 1").read()
    checks.on(Tensor.of("bad", np.array([np.nan])), Finite, "step 1")
    with pytest.raises(PlanError, match="step 1: bad has 1"):
        checks.finish()


def test_shapes():
    tensor = Tensor.of("x", np.zeros((2, 3)))
    require_shape(tensor, [2, "?"], "step 1")
    for wrong in ([2], [2, 4], [2, 3, 1], ["x", 3]):
        with pytest.raises(PlanError, match=r"step 1: x has the shape \[2, 3\], expected \["):
            require_shape(tensor, wrong, "step 1")
