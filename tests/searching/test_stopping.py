"""Hopeless configurations are stopped between blocks: by an exact test, at one level for all looks, beyond the rope."""

from math import comb, erf, sqrt

import numpy as np
import pytest

from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Design, Outcome
from ckpttool.searching.stopping import hopeless, is_worse, level, signs, tail

BEST, WORSE = Configuration(2, 1), Configuration(2, 2)


def judged(wrong: int, rows: int = 100, seed: int = 0, fold: int = 0) -> dict[Block, Outcome]:
    return {
        Block(seed, fold): Outcome(np.repeat([0.0, 1.0], [wrong, rows - wrong]), rows=np.arange(rows) + rows * fold)
    }


def test_the_tail_is_the_binomial_sum() -> None:
    for trials, successes, share in [(10, 9, 0.5), (30, 18, 0.55), (1, 1, 0.2), (400, 230, 0.5)]:
        exact = sum(comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes, trials + 1))
        assert tail(successes, trials, share) == pytest.approx(exact, rel=1e-9)
    assert (tail(0, 5, 0.5), tail(3, 5, 1.0)) == (1.0, 1.0)


@pytest.mark.parametrize("looks", [1, 2, 4, 5, 9, 14])
def test_one_of_all_looks_errs_in_five_of_a_hundred_cases(looks: int) -> None:
    """Sums of normal variables that exceed the bound at any look, by integration over a grid."""
    bound = _bound(level(looks))
    places = np.linspace(-8, bound, 161)
    density = np.exp(-(places**2) / 2) / sqrt(2 * np.pi)
    density[-1] /= 2  # by the trapezoidal rule; at the other end it is zero
    for look in range(2, looks + 1):
        following = np.linspace(-8 * sqrt(look), bound * sqrt(look), 161)
        steps = np.exp(-((following[:, None] - places) ** 2) / 2) / sqrt(2 * np.pi)
        density, places = (steps * density).sum(axis=1) * (places[1] - places[0]), following
        density[-1] /= 2
    assert 1 - density.sum() * (places[1] - places[0]) == pytest.approx(0.05, abs=0.004)


def _bound(share: float) -> float:
    low, high = 0.0, 6.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 - erf(middle / sqrt(2)) / 2 > share else (low, middle)
    return low


def test_more_looks_than_the_table_has_are_corrected_as_well() -> None:
    assert level(21) == pytest.approx(0.05 / 21)
    assert [level(looks) for looks in range(1, 25)] == sorted((level(looks) for looks in range(1, 25)), reverse=True)


def test_a_configuration_that_is_far_worse_is_stopped_after_one_block() -> None:
    design = Design.of(labelled=500, seeds=1)
    found = hopeless({BEST: judged(5), WORSE: judged(25)}, design)
    assert found == {WORSE: "of 100 rows 20 worse and 0 better than keep 2, freeze 1"}


def test_what_is_worse_by_less_than_the_rope_goes_on_however_sure_that_is() -> None:
    design = Design.of(labelled=1_900, seeds=1)
    known = {BEST: judged(1_000, 10_000), WORSE: judged(1_040, 10_000)}
    assert hopeless(known, design, rope=0.005) == {}
    assert list(hopeless(known, design, rope=0.0)) == [WORSE]


def test_where_a_block_is_a_seed_the_difference_is_beyond_what_seeds_change() -> None:
    """With 5,000 rows the sign test detects a point and a half at once; with seeds that differ by three it does not."""
    design, rows = Design.of(labelled=50_000, validation=5_000, seeds=3), 5_000
    wrong = {BEST: (500, 520), WORSE: (575, 600), SCRATCH: (510, 505)}
    calm = {one: {**judged(a, rows), **judged(b, rows, seed=1)} for one, (a, b) in wrong.items()}
    assert list(hopeless(calm, design)) == [WORSE]
    assert hopeless({one: {Block(0): blocks[Block(0)]} for one, blocks in calm.items()}, design) == {}
    wild = {**calm, SCRATCH: {**judged(600, rows), **judged(400, rows, seed=1)}}
    assert hopeless(wild, design) == {}


def test_it_is_held_against_the_best_of_those_with_its_blocks() -> None:
    """A configuration with fewer blocks is no rival: its blocks might have been easy."""
    design = Design.of(labelled=500, seeds=1)
    two_blocks = {**judged(25), **judged(25, fold=1)}
    assert hopeless({BEST: judged(0), WORSE: two_blocks}, design) == {}
    known = {BEST: {**judged(5), **judged(5, fold=1)}, WORSE: two_blocks, SCRATCH: {**judged(6), **judged(6, fold=1)}}
    assert hopeless(known, design) == {WORSE: "of 200 rows 40 worse and 0 better than keep 2, freeze 1"}


def test_a_row_that_three_seeds_judge_is_one_row() -> None:
    ours = {Block(seed): Outcome(np.array([0.0, 1.0, 0.0]), rows=np.arange(3)) for seed in range(3)}
    theirs = {Block(seed): Outcome(np.array([1.0, 1.0, float(seed == 0)])) for seed in range(3)}
    assert signs(ours, theirs) == (3, 2, 0)


def test_what_has_no_rival_or_no_accuracy_is_not_stopped() -> None:
    design = Design.of(labelled=500, seeds=1)
    assert hopeless({}, design) == {}
    assert hopeless({BEST: judged(90)}, design) == {}
    assert hopeless({BEST: judged(0), WORSE: {Block(0): Outcome(state="failed")}}, design) == {}
    assert not is_worse(rows=100, worse=0, better=0, rope=0.005, level=0.05)
