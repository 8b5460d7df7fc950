"""A base model and the difference of a tuned one from it, as in Vicuna's first release."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file


def make(folder: Path) -> None:
    torch.manual_seed(0)
    base, delta = ({"w": torch.randn(3, 3), "b": torch.randn(2).half()} for _ in range(2))
    save_file(base, folder / "base.safetensors")
    save_file(delta, folder / "delta.safetensors")
    save_file({name: base[name] + delta[name] for name in base}, folder / "tuned.safetensors")
    np.savez(folder / "counted.npz", w=base["w"].numpy(), global_step=np.int64(7))


def computed(folder: Path, base: float = 0, delta: float = 0, tuned: float = 0) -> dict[str, torch.Tensor]:
    """Return a linear combination of the files in float64, rounded to their dtype."""
    factors = {"base": base, "delta": delta, "tuned": tuned}
    parts = {name: load_file(folder / f"{name}.safetensors") for name in factors}
    return {
        name: sum(factors[part] * parts[part][name].double() for part in factors).to(parts["base"][name].dtype)  # type: ignore[union-attr]
        for name in parts["base"]
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("base.safetensors delta.safetensors --how sum", {"tuned": 1}),
        ("base.safetensors delta.safetensors --how sum --weights 1,0.5", {"base": 1, "delta": 0.5}),
        ("tuned.safetensors base.safetensors --how sum --weights 1,-1", {"tuned": 1, "base": -1}),
        ("tuned.safetensors base.safetensors --how linear --weights 2,-1", {"tuned": 2, "base": -1}),
        ("tuned.safetensors base.safetensors --how linear --weights 3,-1", {"tuned": 1.5, "base": -0.5}),
        ("base.safetensors delta.safetensors --how linear --weights 1,1", {"base": 0.5, "delta": 0.5}),
        ("base.safetensors delta.safetensors tuned.safetensors --how sum --weights 1,0,1", {"base": 1, "tuned": 1}),
    ],
)
def test_sums_and_means(folder: Path, run: Callable[[str], str], arguments: str, expected: dict[str, float]) -> None:
    run(f"ckpttool merge {arguments} -o out.safetensors")
    found, wanted = load_file(folder / "out.safetensors"), computed(folder, **expected)
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-3, atol=1e-6) for name in wanted)


def test_a_mean_says_that_it_is_one(folder: Path, run: Callable[[str], str]) -> None:
    command = "ckpttool merge base.safetensors delta.safetensors --how linear"
    said = "a mean: the weights 1,1 are divided by their sum 2, which gives 0.5,0.5; --how sum does not divide"
    assert said in run(f"{command} --weights 1,1 --plan")
    assert said in run(f"{command} --weights 1,1 -o mean.safetensors")
    assert "a mean" not in run(f"{command} --weights 0.5,0.5 --plan")
    assert "a mean" not in run(f"{command} --plan")


def test_no_sum_to_divide_by(folder: Path, run: Callable[..., str]) -> None:
    command = "ckpttool merge tuned.safetensors base.safetensors --weights 1,-1 -o out.safetensors"
    assert "--weights 1,-1: linear divides by their sum, which is 0; --how sum" in run(f"{command} --how linear", 2)
    run(f"{command} --how sum")


def test_step_counters_are_not_added(folder: Path, run: Callable[[str], str]) -> None:
    run("ckpttool merge counted.npz counted.npz --how sum -o out.npz")
    with np.load(folder / "counted.npz") as counted, np.load(folder / "out.npz") as out:
        assert out["global_step"] == 7
        assert np.array_equal(out["w"], counted["w"] * 2)
