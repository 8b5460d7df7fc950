"""The walk has the full grid's result, with less than half of its trials, and resumes where it was interrupted."""

from collections.abc import Callable

import numpy as np
import pytest

from ckpttool.searching.configurations import SCRATCH, Bounds, Configuration
from ckpttool.searching.walk import Walk, everything

Surface = dict[Configuration, float]
ROPE = 0.005
DEPTHS = 5


def surface(formula: Callable[[int, int], float], scratch: float, depths: int = DEPTHS) -> Surface:
    """The accuracy of each configuration, by its kept and frozen layers."""
    return {one: scratch if one == SCRATCH else formula(one.keep, one.freeze) for one in Bounds().grid(depths)}


FROZEN = (0.888, 0.885, 0.86, 0.80, 0.70, 0.60)
"""Accuracies measured with frozen trunks, by depth, on MNIST's 5 to 9 with a network for 0 to 4 and 500 rows."""
SURFACES = {
    "as measured: frozen falls, trained is flat": surface(
        lambda k, j: FROZEN[j] if k == j else 0.888 - 0.002 * abs(k - 3) - (0, 0, 0.006, 0.02, 0.05)[j], scratch=0.873
    ),
    "all deep is best": surface(lambda k, j: 0.82 + 0.02 * k - 0.001 * (k - j), scratch=0.80),
    "from scratch is best": surface(lambda k, j: 0.90 - 0.01 * j - 0.004 * k, scratch=0.93),
    "neighbours that work together are parted at 2 and 3": surface(
        lambda k, j: 0.90 - 0.004 * abs(k - 4) - 0.03 * (j in {2, 3}) - 0.015 * (j == 5), scratch=0.86
    ),
    "few rows: the top is dropped, the rest frozen": surface(
        lambda k, j: 0.90 - 0.03 * abs(k - 3) - 0.004 * (k - j), scratch=0.80
    ),
    "many rows: all is trained": surface(lambda k, j: 0.80 + 0.01 * k + 0.012 * (k - j), scratch=0.70),
}


def any_surface(rng: np.random.Generator, depths: int) -> Surface:
    """A surface as described in papers: a best depth, a cost of freezing and of training, perhaps a dip."""
    best, rise, fall = rng.integers(1, depths + 1), rng.uniform(0, 0.02), rng.uniform(0, 0.015)
    freezing = rng.uniform(0, 0.02) * np.arange(depths + 1) ** rng.uniform(1, 2)
    training = rng.uniform(0, 0.008) * (rng.random() < 0.4)
    dip, deep = rng.integers(1, depths + 1), rng.uniform(0.01, 0.04) * (rng.random() < 0.4)
    special = rng.uniform(0, 0.06)

    def formula(keep: int, freeze: int) -> float:
        of_keep = rise * max(best - keep, 0) + fall * max(keep - best, 0) + special * (keep == freeze) * keep**2 / 25
        return float(0.88 - of_keep - freezing[freeze] - training * (keep - freeze) - deep * (freeze == dip))

    return surface(formula, 0.88 - rng.uniform(-0.01, 0.06), depths)


def ranking(found: Surface, depths: int) -> tuple[int, ...]:
    """The depths ranked by scores, which predict frozen trunks."""
    return tuple(sorted(range(1, depths + 1), key=lambda depth: -found[Configuration(depth, depth)]))


def walked(walk: Walk, found: Surface) -> list[Configuration]:
    """The configurations that a walk tries on a surface, in order."""
    tried: dict[Configuration, float] = {}
    while wave := walk.following(tried.get):
        assert not set(wave) & set(tried)
        tried.update({each: found[each] for each in wave})
    return list(tried)


def is_found(found: Surface, tried: list[Configuration]) -> bool:
    return max(found[each] for each in tried) >= max(found.values()) - ROPE


@pytest.mark.parametrize("with_scores", [True, False])
@pytest.mark.parametrize("name", SURFACES)
def test_the_best_of_known_shapes_is_found_in_under_half_of_the_trials(name: str, with_scores: bool) -> None:
    found = SURFACES[name]
    tried = walked(Walk(DEPTHS, ranking=ranking(found, DEPTHS) if with_scores else ()), found)
    assert is_found(found, tried)
    assert len(tried) < len(found) / 2


@pytest.mark.parametrize("depths", [3, 5, 8, 13])
def test_nine_of_ten_surfaces_of_any_shape_are_found(depths: int) -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        found = any_surface(rng, depths)
        hits += is_found(found, walked(Walk(depths, ranking=ranking(found, depths)), found))
    assert hits >= 90


def test_with_noise_of_half_a_point_the_answer_is_as_good_as_the_grids_nearly_always() -> None:
    rng, ours, grids = np.random.default_rng(1), 0, 0
    for _ in range(200):
        true = any_surface(rng, DEPTHS)
        seen = {one: value + rng.normal() * 0.003 for one, value in true.items()}
        tried = walked(Walk(DEPTHS, ranking=ranking(seen, DEPTHS)), seen)
        ours += true[max(tried, key=lambda one: seen[one])] >= max(true.values()) - ROPE
        grids += true[max(seen, key=lambda one: seen[one])] >= max(true.values()) - ROPE
    assert ours >= 180
    assert grids - ours <= 20


def test_the_chapters_walk_comes_first() -> None:
    """From scratch, all well frozen, all kept and the rest trained, all trained; then with less kept."""
    starts = Walk(DEPTHS, ranking=(2, 1, 3, 4, 5, 0)).starts()
    assert [(one.keep, one.freeze) for one in starts] == [(0, 0), (2, 2), (5, 2), (5, 0), (4, 2), (4, 0)]


@pytest.mark.parametrize("depths", [1, 2])
def test_of_a_small_network_all_is_tried(depths: int) -> None:
    found = surface(lambda k, j: 0.8 + 0.01 * k + 0.001 * j, 0.7, depths)
    assert set(walked(Walk(depths), found)) == set(found)


def test_a_walk_that_is_interrupted_anywhere_goes_on_as_if_it_had_not_been() -> None:
    found = SURFACES["as measured: frozen falls, trained is flat"]
    whole = walked(Walk(DEPTHS, ranking=(1, 2, 3, 4, 5)), found)
    for count in range(len(whole)):
        known = {each: found[each] for each in whole[:count]}
        while wave := Walk(DEPTHS, ranking=(1, 2, 3, 4, 5)).following(known.get):
            known[wave[0]] = found[wave[0]]
        assert list(known) == whole


def test_bounds_and_a_limit_hold() -> None:
    bounds = Bounds.parse(DEPTHS, keep="2-4", freeze="0,1")
    found = SURFACES["many rows: all is trained"]
    tried = walked(Walk(DEPTHS, bounds, ranking=(5, 4, 3, 2, 1), limit=4), found)
    assert len(tried) == 4
    assert all(each in bounds for each in tried)
    assert walked(Walk(DEPTHS, Bounds.parse(DEPTHS, keep="3", freeze="3")), found) == [SCRATCH, Configuration(3, 3)]


@pytest.mark.parametrize(
    ("keep", "freeze"), [("2", "1"), ("1,5", None), (None, "2"), ("5", None), ("3-5", "1,3"), ("1", "0")]
)
def test_whatever_the_bounds_what_lies_within_is_walked(keep: str | None, freeze: str | None) -> None:
    bounds, found = Bounds.parse(DEPTHS, keep, freeze), SURFACES["many rows: all is trained"]
    tried = walked(Walk(DEPTHS, bounds), found)
    assert all(each in bounds for each in tried)
    assert max(found[each] for each in tried) >= max(found[each] for each in bounds.grid(DEPTHS)) - ROPE


def test_what_was_stopped_is_no_place_to_go_on_from() -> None:
    stopped = {SCRATCH, Configuration(5, 0)}
    found = {each: float("-inf") if each in stopped else 0.5 for each in Bounds().grid(DEPTHS)}
    assert walked(Walk(DEPTHS), found)[-1] not in stopped
    assert walked(Walk(DEPTHS), dict.fromkeys(found, float("-inf")))


def test_the_grid_is_all_that_is_not_known() -> None:
    known = {SCRATCH: 0.5, Configuration(2, 1): float("-inf")}
    left = everything(Bounds().grid(DEPTHS), known.get)
    assert len(left) == 19
    assert not set(left) & set(known)
