"""Verdicts on really trained networks: an MLP, a network of convolutions, a transformer."""

import copy
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.diff import diff
from ckpttool.surgery.differing.evidence import spectra
from ckpttool.surgery.differing.verdict import Verdict, verdict
from tests.surgery.differing.trained_networks import (
    ConvNet,
    Dora,
    Ia3,
    Mlp,
    Oft,
    Transformer,
    adapted,
    decayed,
    head_tuned,
    lora_tuned,
    made,
    state,
    train,
)

KINDS = [Mlp, ConvNet, Transformer]
DENSE: dict[Any, list[str]] = {Mlp: ["fc1", "fc2", "fc3"], Transformer: ["layers.0.linear1", "layers.1.linear2"]}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def network(request: pytest.FixtureRequest) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made(request.param)
    torch.set_num_threads(threads)


def said(a: Any, b: Any) -> Verdict:
    one, other = ({name: Tensor.of(name, np.asarray(value)) for name, value in each.items()} for each in (a, b))
    found = diff(one, other)
    return verdict(found, spectra(one, other, found))


def matrices(network: Any, change: Any) -> Verdict:
    before = state(network)
    return said(before, {name: change(array) if array.ndim > 1 else array for name, array in before.items()})


def numbers(network: Any, change: Any) -> Verdict:
    before = state(network)
    return said(before, {n: change(array) if array.dtype.kind == "f" else array for n, array in before.items()})


def test_nothing(network: Any) -> None:
    assert said(state(network), state(copy.deepcopy(network))).kind == "nothing"


def test_the_head_alone_though_statistics_moved_beside_it(network: Any) -> None:
    found = said(state(network), state(head_tuned(network)))
    assert (found.kind, found.text.startswith("only the head moved: head, by ")) == ("head", True)
    moved = "; statistics of batch normalisation moved in 3 layers"
    assert found.text.endswith(moved) == isinstance(network, ConvNet)


@pytest.mark.parametrize(("steps", "rate"), [(5, 1e-4), (40, 3e-3)])
def test_all_of_it_a_little_or_much(network: Any, steps: int, rate: float) -> None:
    found = said(state(network), state(train(copy.deepcopy(network), 1, steps=steps, rate=rate)))
    assert (found.kind, found.text.startswith("spread over all ")) == ("all", True)


@pytest.mark.parametrize("rank", [1, 4])
def test_an_adapter_that_was_merged(network: Any, rank: int) -> None:
    if type(network) in DENSE:
        names = DENSE[type(network)]
        before, after = state(network), state(lora_tuned(network, rank, names))
        found = said(before, after)
        layers = len({name.rpartition(".")[0] for name in before})
        text = f"low rank: looks like an adapter of rank {rank}; {len(names)} of {layers} layers moved"
        assert (found.kind, found.rank, found.text) == ("low rank", rank, text)
        rounded = [{n: array.astype(ml_dtypes.bfloat16) for n, array in each.items()} for each in (before, after)]
        assert (said(*rounded).kind, said(*rounded).rank) == ("low rank", rank)


@pytest.mark.parametrize(
    ("adapter", "kind", "text"),
    [
        (Ia3, "scaled rows", "rows or columns were multiplied by factors, as IA3 does; in 2 of "),
        (Oft, "rotated", "matrices were multiplied by orthogonal ones, as OFT does; in 2 of "),
        (Dora, "rescaled", "low rank and rows rescaled: looks like DoRA of rank 3; in 2 of "),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_an_adapter_that_is_no_sum(network: Any, adapter: Any, kind: str, text: str, dtype: Any) -> None:
    if type(network) in DENSE:
        names = DENSE[type(network)][-2:]
        after = adapted(network, adapter, names, rate=1e-2 if adapter is Oft else 3e-2)
        found = said(*({n: a.astype(dtype) for n, a in state(each).items()} for each in (network, after)))
        assert (found.kind, found.text.startswith(text)) == (kind, True)


def test_directions_that_are_trained_at_equal_norms_are_no_rotation(network: Any) -> None:
    if type(network) in DENSE:
        before, after = state(network), state(train(copy.deepcopy(network), 1, steps=40, rate=3e-3))
        norms = {n: np.linalg.norm(a, axis=-1, keepdims=True) for n, a in before.items()}
        kept = {
            n: (a / np.linalg.norm(a, axis=-1, keepdims=True) * norms[n]).astype("f") if a.ndim == 2 else a
            for n, a in after.items()
        }
        assert said(before, kept).kind == "all"


def test_statistics_of_batch_normalisation_alone(network: Any) -> None:
    other = copy.deepcopy(network)
    other.train()
    other(other.rows(2)[0])
    assert said(state(network), state(other)).kind == ("statistics" if isinstance(network, ConvNet) else "nothing")


@pytest.mark.parametrize("steps", [0, 20])
def test_another_seed(network: Any, steps: int) -> None:
    other = made(type(network), seed=7, steps=steps)
    assert said(state(network), state(other)).kind == "another seed"


def test_another_dtype_and_numbers_that_were_rounded(network: Any) -> None:
    assert numbers(network, lambda array: array.astype(np.float16)).kind == "dtype"
    found = numbers(network, lambda array: array.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert (found.kind, found.text.startswith("the same numbers, rounded to bfloat16: in all ")) == ("rounded", True)


@pytest.mark.parametrize("by_row", [False, True])
def test_numbers_of_eight_bits(network: Any, by_row: bool) -> None:
    def quantised(array: Any) -> Any:
        flat = array.reshape(len(array), -1)
        step = np.abs(flat).max(1 if by_row else None, keepdims=True) / 127
        return (np.round(flat / step) * step).astype(np.float32).reshape(array.shape)

    found = matrices(network, quantised)
    assert (found.kind, "quantised to no more than 256 levels" in found.text) == ("quantised", True)


def test_numbers_that_became_zero(network: Any) -> None:
    found = matrices(network, lambda array: np.where(np.abs(array) < np.median(np.abs(array)), 0, array))
    assert (found.kind, found.text.startswith("numbers became zero, the others are unchanged: in ")) == ("pruned", True)


@pytest.mark.parametrize("factor", [0.25, -1.0, 3.0])
def test_weights_that_were_scaled(network: Any, factor: float) -> None:
    found = matrices(network, lambda array: array * np.float32(factor))
    assert (found.kind, found.text.startswith(f"weights were multiplied by {factor:g}: in ")) == ("scaled", True)


@pytest.mark.parametrize("all_of_them", [False, True])
def test_weight_decay_alone(network: Any, all_of_them: bool) -> None:
    found = said(state(network), state(decayed(network, all_of_them)))
    text = "weights were multiplied by 0.99, as weight decay alone does: in "
    assert (found.kind, found.text.startswith(text)) == ("scaled", True)


def test_noise_is_none_of_these(network: Any) -> None:
    draw = np.random.default_rng(0)
    found = matrices(network, lambda array: array + draw.normal(0, 1e-3, array.shape).astype(np.float32))
    assert found.kind in ("all", "some")


def tuned(network: Any, takes: Any, rate: float = 1e-2) -> Any:
    """A copy of which the parameters were trained whose names `takes` says yes to."""
    own = copy.deepcopy(network)
    chosen = [value.requires_grad_(takes(name)) for name, value in own.named_parameters()]
    return train(own, 1, [value for value in chosen if value.requires_grad], rate=rate)


def test_biases_alone(network: Any) -> None:
    found = said(state(network), state(tuned(network, lambda name: name.endswith("bias"))))
    assert (found.kind, found.text.startswith("only biases moved: in ")) == ("vectors", True)


def test_normalisations_alone(network: Any) -> None:
    if type(network) is not Mlp:
        found = said(state(network), state(tuned(network, lambda name: "norm" in name)))
        layers = "3 of 7" if isinstance(network, ConvNet) else "4 of "
        assert (found.kind, f"biases or scales moved, no matrix: in {layers}" in found.text) == ("vectors", True)


def test_sixteen_values_in_blocks_of_sixty_four_as_nf4_has_them(network: Any) -> None:
    values = torch.erfinv(torch.linspace(-0.9, 0.9, 16)).numpy()
    values /= np.abs(values).max()

    def quantised(array: Any) -> Any:
        blocks = array.reshape(-1, 64) if array.size % 64 == 0 else array.reshape(1, -1)
        scale = np.abs(blocks).max(1, keepdims=True)
        nearest = np.abs((blocks / scale)[..., None] - values).argmin(-1)
        return (values[nearest] * scale).astype(np.float32).reshape(array.shape)

    assert matrices(network, quantised).kind == "quantised"


def test_a_change_below_the_rounding_of_its_dtype_has_no_rank(network: Any) -> None:
    before, after = state(network), state(tuned(network, lambda _: True, rate=1e-5))
    narrow = [{name: value.astype(ml_dtypes.bfloat16) for name, value in each.items()} for each in (before, after)]
    assert said(*narrow).kind in ("all", "some")


def test_an_adapter_beside_a_head_that_was_trained_whole() -> None:
    """Of five matrices four have a low rank."""
    draw = np.random.default_rng(0)
    names = [*(f"layers.{number}.weight" for number in range(4)), "head.weight"]
    before = {name: draw.normal(0, 0.05, (64, 64)).astype(np.float32) for name in names}
    moves = {name: draw.normal(0, 0.02, (64, 2)) @ draw.normal(0, 0.1, (2, 64)) for name in names[:-1]}
    moves["head.weight"] = draw.normal(0, 0.01, (64, 64))
    found = said(before, {name: (value + moves[name]).astype(np.float32) for name, value in before.items()})
    assert found.text == "low rank: looks like an adapter of rank 2; 5 of 5 layers moved; not of low rank: head"


def test_more_tokens_are_no_change_of_the_others() -> None:
    before = {"embed.weight": np.ones((5, 3), np.float32), "fc.weight": np.ones((3, 3), np.float32)}
    found = said(before, {**before, "embed.weight": np.ones((7, 3), np.float32)})
    assert found.text == "1 layer not comparable: embed; the others did not move"
