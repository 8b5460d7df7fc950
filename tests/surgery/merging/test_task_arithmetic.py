"""Task arithmetic and scales, compared with the formula in NumPy and in torch; invalid scales are rejected."""

from typing import Any

import numpy as np
import pytest
import torch

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.surgery.merge import merge
from ckpttool.surgery.merging.scales import Scales

DRAW = np.random.default_rng(5)


def model(seed: int, dtype: Any = np.float32) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    shapes = {"low/kernel": (6, 5), "low/bias": (5,), "head/kernel": (5, 3)}
    return {name: draw.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


BASE, A, B = (Checkpoint.of(model(seed)) for seed in range(3))


def arithmetic(weights: tuple[float, float], scales: dict[str, float]) -> dict[str, Any]:
    """The base, and each task vector in float64 times its weight and the layer's scale."""
    base, *models = (model(seed, np.float64) for seed in range(3))
    base, *models = (
        {name: array.astype(np.float32).astype(float) for name, array in each.items()} for each in (base, *models)
    )
    return {
        name: start
        + sum(w * scales.get(name, 1.0) * (each[name] - start) for w, each in zip(weights, models, strict=True))
        for name, start in base.items()
    }


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, -0.5), (-1.0, 0.0)])
@pytest.mark.parametrize(
    ("scale", "scales"),
    [
        (None, {}),
        (0.3, dict.fromkeys(BASE, 0.3)),
        (["0.3", "head=1"], {"low/kernel": 0.3, "low/bias": 0.3}),
        ({"low/kernel": -2.0}, {"low/kernel": -2.0}),
    ],
)
def test_it_is_the_papers_sum(weights: tuple[float, float], scale: Any, scales: dict[str, float]) -> None:
    merged = merge([A, B], "task-arithmetic", base=BASE, weights=weights, scale=scale)
    for name, expected in arithmetic(weights, scales).items():
        assert merged[name].dtype == np.float32
        np.testing.assert_allclose(merged[name].read(), expected, rtol=2e-7, atol=2e-7)


def test_torch_agrees() -> None:
    merged = merge([A, B], "task-arithmetic", base=BASE, scale=0.4)
    for name, tensor in merged.items():
        base, a, b = (torch.from_numpy(each[name].read()).double() for each in (BASE, A, B))
        assert torch.equal(torch.from_numpy(tensor.read()), (base + 0.4 * (a - base) + 0.4 * (b - base)).float())


def test_a_model_unlearned_and_learned_again_is_the_model() -> None:

    both = merge([A, A], "task-arithmetic", base=BASE, weights=(1.0, -1.0))
    for name, tensor in both.items():
        np.testing.assert_array_equal(tensor.read(), BASE[name].read())


def test_the_scale_is_the_lambda_of_ties_and_dare() -> None:
    for how in ("ties", "dare"):
        whole, half = (merge([A, B], how, base=BASE, density=0.7, scale=scale) for scale in (None, 0.5))
        for name, tensor in half.items():
            start = BASE[name].read().astype(float)
            np.testing.assert_allclose(tensor.read(), start + 0.5 * (whole[name].read() - start), atol=3e-7)


@pytest.mark.parametrize("scale", [["x"], ["head="], ["head=nan"], "inf", float("nan"), {"head": "one"}])
def test_what_is_no_scale_is_refused(scale: Any) -> None:
    with pytest.raises(PlanError, match=r"`scale` .*: expected a number, or RE=NUMBER"):
        Scales.of(scale)


def test_a_pattern_that_takes_nothing_and_a_method_without_a_base_are_refused() -> None:
    with pytest.raises(UnknownName, match="pattern 'haed' matches nothing"):
        merge([A, B], "task-arithmetic", base=BASE, scale=["haed=1"])
    with pytest.raises(PlanError, match="`scale` does not apply to linear"):
        merge([A, B], "linear", scale=0.5)
    with pytest.raises(PlanError, match="task-arithmetic needs `base`"):
        merge([A, B], "task-arithmetic")
