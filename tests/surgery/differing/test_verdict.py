"""Verdicts: each kind of change gets its name, and one that is nearly another does not."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.diff import diff
from ckpttool.surgery.differing.evidence import spectra
from ckpttool.surgery.differing.verdict import Verdict, verdict

LAYERS = ("stem", "block1", "block2", "block3", "head")
SIZE = 96


def weights(seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for name in LAYERS:
        values[f"{name}/kernel"] = draw.normal(0, 0.05, (SIZE, SIZE)).astype(np.float32)
        values[f"{name}/bias"] = np.zeros(SIZE, np.float32)
        values[f"{name}/moving_mean"] = draw.normal(0, 1, SIZE).astype(np.float32)
    values["stem/kernel/Momentum"] = np.zeros((SIZE, SIZE), np.float32)
    return values


def said(other: dict[str, Any], ordered: bool = True) -> Verdict:
    a, b = ({name: Tensor.of(name, array) for name, array in each.items()} for each in (weights(), other))
    found = diff(a, b)
    return verdict(found, spectra(a, b, found), lambda: LAYERS if ordered else ())


def changed(change: Callable[[str, Any], Any]) -> dict[str, Any]:
    return {name: change(name, array) for name, array in weights().items()}


def noise(array: Any, size: float = 1e-3) -> Any:
    return array + np.random.default_rng(9).normal(0, size, array.shape).astype(array.dtype)


def adapted(rank: int, array: Any) -> Any:
    draw = np.random.default_rng(9)
    return array + (draw.normal(0, 0.02, (SIZE, rank)) @ draw.normal(0, 0.1, (rank, SIZE))).astype(array.dtype)


def test_nothing_and_optimizers() -> None:
    assert said(weights()) == Verdict("nothing", "nothing moved")
    assert said({**weights(), "stem/kernel/Momentum": np.ones((SIZE, SIZE), np.float32)}).kind == "optimizer"


def test_the_head_the_upper_layers_and_some() -> None:
    head = said(changed(lambda name, array: noise(array) if name.startswith("head") else array))
    assert head.kind == "head"
    assert head.text.startswith("only the head moved: head, by ")
    assert said(changed(lambda name, array: noise(array) if name.startswith("head") else array), False).kind == "head"
    upper = changed(lambda name, array: noise(array) if name.startswith(("head", "block3")) else array)
    assert said(upper).text == "only the upper 2 of 5 layers moved, from block3 upwards"
    assert said(upper, ordered=False).kind == "some"
    assert said(changed(lambda name, array: noise(array) if name.startswith("block2") else array)) == Verdict(
        "some", "1 of 5 layers moved: block2"
    )


def test_all() -> None:
    found = said(changed(lambda name, array: noise(array)))
    assert (found.kind, found.rank) == ("all", None)
    assert found.text.startswith("spread over all 5 layers, by ")


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_an_adapter(rank: int, dtype: Any) -> None:
    merged = changed(lambda name, array: adapted(rank, array) if name in ("block1/kernel", "block2/kernel") else array)
    found = said({name: array.astype(dtype) for name, array in merged.items()} if dtype != np.float32 else merged)
    assert (found.kind, found.rank) == ("low rank", rank)
    if dtype == np.float32:
        assert found.text == f"low rank: looks like an adapter of rank {rank}; 2 of 5 layers moved"


def test_statistics_of_batch_normalisation_alone() -> None:
    found = said(changed(lambda name, array: noise(array) if name.endswith("moving_mean") else array))
    assert found == Verdict("statistics", "only statistics of batch normalisation moved, of 5 layers")


def test_another_seed_where_what_an_initialiser_makes_alike_is_alike() -> None:
    other = {**weights(1), "stem/kernel/Momentum": np.zeros((SIZE, SIZE), np.float32)}
    assert said(other).kind == "another seed"
    assert said(changed(lambda name, array: noise(array, 0.04) if array.ndim == 2 else array)).kind != "another seed"


def test_one_layer_that_is_initialised_anew_is_no_other_seed() -> None:
    fresh = weights(1)["head/kernel"]
    found = said(changed(lambda name, array: fresh if name == "head/kernel" else array))
    assert (found.kind, found.text.startswith("only the head moved: head, by ")) == ("head", True)


def test_another_dtype() -> None:
    found = said(changed(lambda name, array: array.astype(np.float16)))
    assert found == Verdict("dtype", "the same numbers in a different dtype: float32 against float16")
    tuned = said(changed(lambda name, array: noise(array, 0.02).astype(np.float16)))
    assert tuned.kind == "all"


def test_what_is_not_finite_comes_first() -> None:
    def broken(name: str, array: Any) -> Any:
        return np.full_like(array, np.nan) if name == "head/bias" else noise(array)

    assert said(changed(broken)) == Verdict("not finite", "B has NaN or infinities that A does not have, in head/bias")


def test_layers_that_are_only_here_or_there() -> None:
    other = {name: array for name, array in weights().items() if not name.startswith("head")}
    other["classes/kernel"] = np.zeros((SIZE, 3), np.float32)
    assert said(other).text == ("1 layer only in A: head; 1 layer only in B: classes; the others did not move")
    resized = {**weights(), "head/kernel": np.zeros((SIZE, 3), np.float32)}
    assert said(resized).text == "only the head moved: head; 1 layer not comparable: head"
    assert said({"x": np.zeros(3)}).kind == "other model"
