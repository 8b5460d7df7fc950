"""Each merging method, compared with its paper's formulas in NumPy for a whole tensor."""

import math
from typing import Any
from zlib import crc32

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.merging import METHODS
from ckpttool.surgery.merging.arcee_fusion import ArceeFusion
from ckpttool.surgery.merging.breadcrumbs import Breadcrumbs
from ckpttool.surgery.merging.breadcrumbs_ties import BreadcrumbsTies
from ckpttool.surgery.merging.dare import Dare
from ckpttool.surgery.merging.dare_ties import DareTies
from ckpttool.surgery.merging.della import Della
from ckpttool.surgery.merging.della_linear import DellaLinear
from ckpttool.surgery.merging.karcher import Karcher
from ckpttool.surgery.merging.linear import Linear
from ckpttool.surgery.merging.method import TaskVectorMethod
from ckpttool.surgery.merging.model_stock import ModelStock
from ckpttool.surgery.merging.nearswap import NearSwap
from ckpttool.surgery.merging.nuslerp import NuSlerp
from ckpttool.surgery.merging.ram import Ram
from ckpttool.surgery.merging.sce import Sce
from ckpttool.surgery.merging.slerp import Slerp
from ckpttool.surgery.merging.ties import Ties, thresholds

Array = Any
NUMBERS = st.floats(-8, 8, width=16).filter(lambda number: not 0 < abs(number) < 1e-3)
DENSITIES = st.sampled_from([0.1, 0.2, 0.5, 0.7, 1.0])


@st.composite
def tensors(draw: Any, least: int, most: int) -> list[Array]:
    """Arrays of one shape, including scalars and empty ones."""
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = draw(st.integers(least, most))
    return [draw(arrays.arrays(np.float64, shape, elements=NUMBERS)) for _ in range(count)]


def of(array: Array) -> Tensor:
    return Tensor.of("fc/kernel", array)


def as_read(tensor: Tensor) -> Array:
    """The array; its streamed bytes are the same."""
    array = tensor.read()
    assert b"".join(tensor.pieces()) == array.tobytes()
    return array


@settings(deadline=None)
@given(tensors(2, 4), st.data())
def test_linear_is_the_weighted_mean(given: list[Array], data: Any) -> None:
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(given), max_size=len(given)))
    found = as_read(Linear(tuple(weights)).merge([of(array) for array in given]))
    assert np.allclose(found, np.average(np.stack(given), axis=0, weights=weights), rtol=1e-14, atol=1e-14)


def shoemake(a: Array, b: Array, t: float) -> Array:
    """sin((1 - t) w) / sin w of the first and sin(t w) / sin w of the second; linear if there is no arc."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = np.vdot(a, b) / lengths if lengths else 1.0
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


@settings(deadline=None)
@given(tensors(2, 2), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_slerp_is_shoemakes(given: list[Array], t: float) -> None:
    found = as_read(Slerp(t).merge([of(array) for array in given]))
    assert np.allclose(found, shoemake(*given, t), rtol=1e-9, atol=1e-9)


def test_slerp_keeps_the_length_where_a_mean_does_not() -> None:
    draw = np.random.default_rng(0)
    a, b = (array / np.linalg.norm(array) for array in draw.normal(size=(2, 300, 400)))
    found = Slerp().merge([of(a), of(b)]).read()
    assert np.linalg.norm(found) == pytest.approx(1)
    assert np.linalg.norm((a + b) / 2) < 0.8


def yadav(base: Array, models: list[Array], weights: list[float], density: float) -> Array:
    """Trim, elect sign, merge disjointly: the three steps of algorithm 1, on one tensor, with lambda 1."""
    moves = np.stack([(model - base).ravel() for model in models])
    kept = math.ceil(round(density * moves.shape[1], 6))
    for move in moves:
        if move.size:
            move[np.abs(move) < np.sort(np.abs(move))[::-1][kept - 1]] = 0
    scale = np.array(weights)[:, None]
    elected = np.where((scale * moves).sum(0) >= 0, 1, -1)  # the paper does not define opposites
    merged = np.zeros(moves.shape[1])
    for place, sign in enumerate(elected):
        agreeing = [n for n in range(len(models)) if np.sign(moves[n, place]) == sign]
        if agreeing:
            merged[place] = np.average(moves[agreeing, place], weights=scale[agreeing, 0])
    return base + merged.reshape(base.shape)


@settings(deadline=None)
@given(tensors(2, 4), DENSITIES, st.data())
def test_ties_is_the_papers_algorithm(given: list[Array], density: float, data: Any) -> None:
    base, *models = given
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(models), max_size=len(models)))
    found = as_read(Ties(tuple(weights), density).merge([of(array) for array in models], of(base)))
    assert np.allclose(found, yadav(base, models, weights, density), rtol=1e-12, atol=1e-12)


def test_ties_takes_the_greater_of_two_opposites_as_mergekit_and_peft_do() -> None:
    base, a, b = (of(np.array(values)) for values in ([1.0, 1.0, 1.0], [3.0, -1.0, 1.0], [-1.0, 3.0, 1.0]))
    assert Ties(density=1.0).merge([a, b], base).read().tolist() == [3.0, 3.0, 1.0]


def test_ties_trims_whole_tensors_of_many_blocks() -> None:
    draw = np.random.default_rng(2)
    base, *models = draw.normal(size=(3, 300, 400))
    found = Ties().merge([of(array) for array in models], of(base)).read()
    assert np.allclose(found, yadav(base, models, [1.0, 1.0], 0.2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("density", "kept"), [(0.7, 7), (0.3, 3), (0.01, 1), (1.0, 10)])
def test_ties_keeps_as_many_as_it_should(density: float, kept: int) -> None:
    moves = np.arange(1.0, 11.0)
    assert (moves >= thresholds(of(np.zeros(10)), [of(moves)], density)).sum() == kept


def yu(base: Array, models: list[Array], density: float, seed: int) -> Array:
    """Drop parts of the task vectors with probability 1 - density, rescale the rest, and average."""
    moved = np.zeros(base.shape)
    for number, model in enumerate(models):
        draw = np.random.default_rng([seed, crc32(b"fc/kernel"), number])
        mask = draw.random(base.size).reshape(base.shape) < density
        moved += mask * (model - base) / density
    return base + moved / len(models)


@settings(deadline=None)
@given(tensors(2, 4), DENSITIES, st.integers(0, 5))
def test_dare_is_the_papers_formula(given: list[Array], density: float, seed: int) -> None:
    base, *models = given
    found = as_read(Dare(density=density, seed=seed).merge([of(array) for array in models], of(base)))
    assert np.allclose(found, yu(base, models, density, seed), rtol=1e-12, atol=1e-12)


def test_dare_draws_the_same_in_many_blocks_and_is_expected_to_stay() -> None:
    draw = np.random.default_rng(3)
    base, *models = draw.normal(size=(4, 400, 500))
    found = Dare(density=0.5).merge([of(array) for array in models], of(base)).read()
    assert np.allclose(found, yu(base, models, 0.5, 42), rtol=1e-12, atol=1e-12)
    assert (found - base).mean() == pytest.approx((np.stack(models).mean(0) - base).mean(), abs=0.01)


def agreeing(moves: list[Array], weights: list[float], mean: bool) -> Array:
    """The disjoint merge of TIES: of the elements with the sign of the weighted sum, the sum or the mean."""
    scaled = np.stack([weight * move for weight, move in zip(weights, moves, strict=True)])
    agrees = np.sign(scaled) == np.where(scaled.sum(0) >= 0, 1, -1)
    votes = (np.array(weights).reshape(-1, *[1] * moves[0].ndim) * agrees).sum(0)
    return (scaled * agrees).sum(0) / (np.where(votes > 0, votes, 1) if mean else 1)


@settings(deadline=None)
@given(tensors(2, 4), DENSITIES, st.data())
def test_dare_ties_elects_among_what_dare_keeps(given: list[Array], density: float, data: Any) -> None:
    base, *models = given
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(models), max_size=len(models)))
    draws = [np.random.default_rng([7, crc32(b"fc/kernel"), number]) for number in range(len(models))]
    moves = [
        np.where(draw.random(base.size).reshape(base.shape) < density, (model - base) / density, 0)
        for draw, model in zip(draws, models, strict=True)
    ]
    found = as_read(DareTies(tuple(weights), density, seed=7).merge([of(array) for array in models], of(base)))
    assert np.allclose(found, base + agreeing(moves, weights, mean=True), rtol=1e-12, atol=1e-12)


def deep(base: Array, models: list[Array], density: float, epsilon: float, seed: int) -> list[Array]:
    """MagPrune: rank each row by size, keep with a probability that grows with the rank, divide by it."""
    moves = []
    for number, model in enumerate(models):
        move = (model - base).reshape(len(base), -1) if base.ndim > 1 else (model - base).reshape(1, -1)
        drawn = np.random.default_rng([seed, crc32(b"fc/kernel"), number]).random(base.size).reshape(move.shape)
        for row, draw in zip(move, drawn, strict=True):
            for rank, place in enumerate(np.argsort(np.abs(row))):
                chance = density - epsilon + 2 * epsilon * rank / (len(row) - 1)
                row[place] = row[place] / chance if draw[place] < chance else 0
        moves.append(move.reshape(base.shape))
    return moves


@pytest.mark.parametrize("shape", [(7, 30), (2, 300, 150), (3, 2, 4, 5), (500,)])
def test_della_keeps_the_large_more_often_in_each_row(shape: tuple[int, ...]) -> None:
    base, *models = np.random.default_rng(8).normal(size=(4, *shape))
    pruned, weights = deep(base, models, 0.4, 0.3, 42), [1.0, 0.5, 2.0]
    sources = [of(array) for array in models]
    found = as_read(Della(tuple(weights), 0.4, 0.3).merge(sources, of(base)))
    assert np.allclose(found, base + agreeing(pruned, weights, mean=True), rtol=1e-12, atol=1e-12)
    found = as_read(DellaLinear(tuple(weights), 0.4, 0.3).merge(sources, of(base)))
    assert np.allclose(found, base + np.average(pruned, axis=0, weights=weights), rtol=1e-12, atol=1e-12)


def test_della_is_expected_to_stay_and_keeps_the_density() -> None:
    draw = np.random.default_rng(9)
    base, model = np.zeros((400, 500)), draw.normal(1, 1, size=(400, 500))
    found = DellaLinear(density=0.6, epsilon=0.3).merge([of(model)], of(base)).read()
    assert (found != 0).mean() == pytest.approx(0.6, abs=0.005)
    assert found.mean() == pytest.approx(model.mean(), abs=0.02)


def test_della_of_rows_of_one_element_and_of_complex_numbers() -> None:
    column = np.ones((1000, 1))
    found = Della(density=0.5).merge([of(column)], of(column * 0)).read()
    assert set(found.ravel()) == {0.0, 2.0}
    pairs = np.arange(1, 401).astype(np.complex128) * (1 + 1j)
    whole = Della(density=1.0).merge([of(pairs.reshape(4, 100))], of(np.zeros((4, 100), complex))).read()
    assert np.array_equal(whole.ravel(), pairs)


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.15), (0.9, 0.2), (0.5, 1.5), (0.0, 0.0), (0.5, -0.1)])
def test_della_needs_probabilities(density: float, epsilon: float) -> None:
    with pytest.raises(PlanError, match=r"`(density|epsilon)` .*: (probabilities of|expected a number)"):
        Della(density=density, epsilon=epsilon)


def wan(base: Array, models: list[Array], density: float) -> Array:
    """Select by the variance over the models, weight by squares, erase the minority's signs."""
    moves = np.stack([model - base for model in models])
    variance = moves.var(axis=0)
    kept = int(density * np.count_nonzero(variance))
    if density < 1:
        moves = moves * (variance >= (np.sort(variance, axis=None)[::-1][kept - 1] if kept else np.inf))
    squares = (moves**2).reshape(len(models), -1).sum(1)
    elected = np.sign(moves) == np.where(moves.sum(0) >= 0, 1, -1)
    parts = (squares / squares.sum()).reshape(-1, *[1] * base.ndim) * elected
    return base + (parts * moves).sum(0) / np.maximum(parts.sum(0), 1e-6)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.01, 1e-9])
@pytest.mark.parametrize("shape", [(30, 40), (400, 500)])
def test_sce_selects_calculates_and_erases(density: float, shape: tuple[int, ...]) -> None:
    base, *models = np.random.default_rng(10).normal(size=(4, *shape))
    models[1] = base + 2 * (models[1] - base)
    for model in models:
        model[0] = base[0]  # of which none is selected
    found = as_read(Sce(density).merge([of(array) for array in models], of(base)))
    expected = base if density < 1e-6 else wan(base, models, density)
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_sce_of_models_that_did_not_change_is_the_base() -> None:
    base = of(np.ones(3))
    assert Sce(0.5).merge([base, base], base).read().tolist() == [1.0, 1.0, 1.0]
    assert Sce(0.5).merge([of(np.full(3, 0.1))] * 3, base).read().tolist() == [1.0, 1.0, 1.0]


def test_ram_adds_what_one_changed_and_the_mean_of_what_several_did() -> None:
    base, *models = (of(np.array(x)) for x in ([1.0, 1, 1, 1], [2.0, 1.001, 1, -1], [4.0, 1, 1, 1], [1.0, 1, 3, 2]))
    assert Ram(0.01).merge(models, base).read().tolist() == [3.0, 1.0, 3.0, 0.5]
    with pytest.raises(PlanError, match="`epsilon` -1: expected the largest change that is none, 0 or more"):
        Ram(-1.0)


def important(first: Array, second: Array) -> Array:
    """Change times divergence of the rows' softmax; at least the median plus 1.5 interquartile distances."""
    old, new = (np.exp(each) / np.exp(each).sum(-1, keepdims=True) + 1e-8 for each in (first, second))
    sizes = np.abs(second - first) * (new * np.log(new / old)).sum(-1, keepdims=True)
    low, median, high = (np.sort(sizes, axis=None)[int(part * (sizes.size - 1))] for part in (0.25, 0.5, 0.75))
    return sizes >= median + 1.5 * (high - low)


@pytest.mark.parametrize("shape", [(300, 400), (3, 4, 50, 7), (100,)])
def test_fusion_takes_what_is_important(shape: tuple[int, ...]) -> None:
    first, second = np.random.default_rng(11).normal(size=(2, *shape))
    found = as_read(ArceeFusion().merge([of(first), of(second)]))
    taken = important(first, second)
    assert np.array_equal(found, np.where(taken, second, first))
    assert 0 < taken.mean() < 0.3


def test_fusion_of_tensors_without_rows() -> None:
    for array in (np.array(3.0), np.zeros((2, 0))):
        assert np.array_equal(ArceeFusion().merge([of(array), of(array)]).read(), array)


def test_nearswap_moves_by_t_at_most() -> None:
    first, second = np.random.default_rng(12).normal(size=(2, 300, 400))
    found = as_read(NearSwap(0.5).merge([of(first), of(second)]))
    assert np.allclose(found, first + np.clip(second - first, -0.5, 0.5), rtol=0, atol=1e-12)
    with pytest.raises(PlanError, match="`t` 0: expected the distance to move at most, above 0"):
        NearSwap(0.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16, np.complex64])
def test_a_model_merged_with_itself_stays_in_its_dtype(method: str, dtype: Any) -> None:
    array = np.arange(1, 7).reshape(2, 3).astype(dtype)
    base = [of(array)] * issubclass(METHODS[method], TaskVectorMethod)
    found = as_read(METHODS[method]().merge([of(array), of(array)], *base))
    expected = array + array if method == "sum" else array
    assert (found.dtype, found.tolist()) == (array.dtype, expected.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_nan_stays_nan(method: str) -> None:
    whole, flawed = np.ones(4), np.array([1.0, np.nan, 1.0, np.inf])
    base = [of(np.zeros(4))] * issubclass(METHODS[method], TaskVectorMethod)
    all_parts = {"density": 1.0} if "density" in METHODS[method].__dataclass_fields__ else {}
    found = METHODS[method](**all_parts).merge([of(whole), of(flawed)], *base).read()
    assert np.isfinite(found).tolist() == [True, False, True, False]


def davari(base: Array, models: list[Array], weights: list[float], density: float, gamma: float) -> Array:
    """Add what is left of the task vectors, times the weights."""
    masked = crumbs(base, models, density, gamma)
    return base + sum(weight * move for weight, move in zip(weights, masked, strict=True))


def crumbs(base: Array, models: list[Array], density: float, gamma: float) -> list[Array]:
    """Mask the largest and the smallest of each task vector, as counted by mergekit."""
    masked = []
    for model in models:
        move = (model - base).ravel()
        order, kept, outliers = np.argsort(np.abs(move)), int(density * move.size), int(gamma * move.size)
        first = max(0, move.size - kept - outliers)
        mask = np.zeros(move.size)
        mask[order[first : first + kept] if density < 1 else order] = 1
        masked.append((move * mask).reshape(base.shape))
    return masked


@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.3), (0.7, 0.9), (1.0, 0.5), (0.001, 0.1)])
def test_breadcrumbs_are_those_of_the_paper(density: float, gamma: float) -> None:
    base, *models = np.random.default_rng(5).normal(size=(4, 30, 40))
    method = Breadcrumbs((1.0, 0.5, -2.0), density, gamma)
    found = as_read(method.merge([of(array) for array in models], of(base)))
    assert np.allclose(found, davari(base, models, [1.0, 0.5, -2.0], density, gamma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.5, 0.3), (1.0, 0.5)])
def test_breadcrumbs_with_ties_add_what_agrees(density: float, gamma: float) -> None:
    base, *models = np.random.default_rng(5).normal(size=(4, 30, 40))
    weights = [1.0, 0.5, 2.0]
    found = as_read(BreadcrumbsTies(tuple(weights), density, gamma).merge([of(array) for array in models], of(base)))
    moved = agreeing(crumbs(base, models, density, gamma), weights, mean=False)
    assert np.allclose(found, base + moved, rtol=1e-12, atol=1e-12)


def jang(base: Array, models: list[Array]) -> Array:
    """Interpolate by the mean cosine of the task vectors, equations 6 and 7 of the paper."""
    moves, count = [(model - base).ravel() for model in models], len(models)
    pairs = [(a, b) for number, a in enumerate(moves) for b in moves[number + 1 :]]
    cosine = np.mean([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs])
    ratio = count * cosine / (1 + (count - 1) * cosine)
    return ratio * np.mean(models, 0) + (1 - ratio) * base


@pytest.mark.parametrize("count", [2, 3, 5])
def test_model_stock_goes_as_far_as_models_agree(count: int) -> None:
    base, shared, *own = np.random.default_rng(count).normal(size=(count + 2, 300, 400))
    models = [base + shared + each for each in own]
    found = as_read(ModelStock().merge([of(array) for array in models], of(base)))
    assert np.allclose(found, jang(base, models), rtol=1e-9, atol=1e-9)


def test_model_stock_keeps_the_base_where_models_say_the_opposite_or_nothing() -> None:
    base = of(np.array([1.0, 1.0]))
    for one, other in (([3.0, 1.0], [-1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])):
        assert ModelStock().merge([of(np.array(one)), of(np.array(other))], base).read().tolist() == [1.0, 1.0]
    with pytest.raises(PlanError, match="goes by how models agree: expected two or more"):
        ModelStock().parts(1)


def test_nuslerp_interpolates_task_vectors_at_the_second_weight_of_the_sum() -> None:
    base, *models = np.random.default_rng(6).normal(size=(3, 300, 400))
    moves = [model - base for model in models]
    for weights, t in (((1.0, 1.0), 0.5), ((1.0, 3.0), 0.75), ((2.0, 0.0), 0.0)):
        found = as_read(NuSlerp(weights).merge([of(model) for model in models], of(base)))
        assert np.allclose(found, base + shoemake(*moves, t), rtol=1e-9, atol=1e-9)


def test_nuslerp_of_parallel_and_of_missing_changes() -> None:
    base, a = of(np.ones(3)), np.array([2.0, 3.0, 1.0])
    assert NuSlerp((1.0, 3.0)).merge([of(a), of(2 * a - 1)], base).read().tolist() == [2.75, 4.5, 1.0]
    found = NuSlerp().merge([of(a), base], base).read()  # a zero has no direction, and counts as orthogonal
    assert np.allclose(found, 1 + (a - 1) * math.sqrt(0.5))
    with pytest.raises(PlanError, match="`weights` 1,-1: the sum is 0, and divides"):
        NuSlerp((1.0, -1.0)).merge([of(a), base], base)


def frechet(models: list[Array], weights: Array) -> Array:
    """Descend from the mean direction along the mean of the logarithms, in the space of the weights themselves."""
    norms = np.array([np.linalg.norm(model) for model in models])
    units = [model.ravel() / norm for model, norm in zip(models, norms, strict=True)]
    mean = sum(weight * unit for weight, unit in zip(weights, units, strict=True))
    mean /= np.linalg.norm(mean)
    for _ in range(100):
        angles = np.arccos(np.clip([unit @ mean for unit in units], -1, 1))
        logs = [a / np.sin(a) * (u - np.cos(a) * mean) if a else 0 * u for a, u in zip(angles, units, strict=True)]
        step = sum(weight * log for weight, log in zip(weights, logs, strict=True))
        if (length := np.linalg.norm(step)) < 1e-12:
            break
        mean = np.cos(length) * mean + np.sin(length) * step / length
    return (weights @ norms) * mean.reshape(models[0].shape)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_karcher_is_the_mean_on_the_sphere_at_the_mean_norm(weights: tuple[float, ...]) -> None:
    shared, *own = np.random.default_rng(7).normal(size=(4, 30, 40))
    models = [scale * (shared + each) for scale, each in zip((1, 2, 0.5), own, strict=True)]
    found = as_read(Karcher(weights).merge([of(model) for model in models]))
    assert np.allclose(found, frechet(models, np.array(weights) / sum(weights)), rtol=0, atol=1e-4)


def test_karcher_where_models_are_opposite_or_zero() -> None:
    a, zero = np.array([3.0, 4.0]), np.zeros(2)
    assert np.allclose(Karcher().merge([of(a), of(-a)]).read(), a)  # no mean is nearer than the first
    assert np.allclose(Karcher().merge([of(a), of(zero)]).read(), a / 2)
    assert Karcher().merge([of(zero), of(zero)]).read().tolist() == [0.0, 0.0]
