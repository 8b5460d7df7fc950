"""Differences of configurations: intervals of simulated searches contain the truth as often as claimed."""

from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from ckpttool.core.errors import PlanError
from ckpttool.searching.configurations import Block, Configuration, Design, Outcome
from ckpttool.searching.differences import Variances, accuracy, difference
from ckpttool.searching.estimates import Between, components, over_folds, over_rows

Scores = NDArray[np.float64]


def validation(seeds: int, rows: int) -> Design:
    return Design("rows", rows, 1, tuple(range(seeds)))


def outcomes(scores: Scores) -> dict[Block, Outcome]:
    return {Block(seed): Outcome(line) for seed, line in enumerate(scores)}


# ---- searches on validation rows: rows are easy or hard, seeds are good or bad, and some rows suit one of the two ----


SKILLS = (3.0, 2.8, 2.9, 2.7, 2.6, 2.5)
"""The configurations of a study; the first two are compared, and all contribute to the variance of seeds."""


def truth(of_seeds: float) -> float:
    one, other = (NormalDist().cdf(skill / np.sqrt(4 + 1 + 0.5 + of_seeds**2)) for skill in SKILLS[:2])
    return one - other


def simulated(rng: np.random.Generator, of_seeds: float, seeds: int, rows: int) -> Scores:
    """The correctness of the configurations, with several seeds each, on the same rows."""
    difficulty = rng.normal(size=rows) * 2
    every = []
    for skill in SKILLS:
        own, seed = rng.normal(size=rows), rng.normal(size=(seeds, 1)) * of_seeds
        every.append(skill + difficulty + own + seed + rng.normal(size=(seeds, rows)) * 0.5**0.5 > 0)
    return np.stack(every) * 1.0


def known_of(study: dict[Configuration, dict[Block, Outcome]], design: Design) -> Between | None:
    """What the whole study shows about the first two."""
    variances = Variances.of(study, design)
    one, other = list(study)[:2]
    return variances.between(one, other) if variances else None


def covered(seeds: int, rows: int, of_seeds: float) -> tuple[float, float]:
    """The fraction of intervals that contain the truth, with the variance of seeds from all configurations, or two."""
    rng, true, design, hits, alone = np.random.default_rng(3), truth(of_seeds), validation(seeds, rows), 0, 0
    for _ in range(200):
        every = {Configuration(9, k): outcomes(line) for k, line in enumerate(simulated(rng, of_seeds, seeds, rows))}
        one, other = list(every.values())[:2]
        found, own = difference(one, other, design, between=known_of(every, design)), difference(one, other, design)
        assert found is not None
        assert own is not None
        hits, alone = hits + (found.low <= true <= found.high), alone + (own.low <= true <= own.high)
    return hits / 200, alone / 200


@pytest.mark.parametrize(("seeds", "rows", "of_seeds"), [(3, 200, 0.1), (3, 1000, 0.4)])
def test_the_interval_over_rows_and_seeds_is_right_in_95_of_100_searches(
    seeds: int, rows: int, of_seeds: float
) -> None:
    """Also if seeds cause most of the uncertainty; of 200 searches a point more or less is chance."""
    together, alone = covered(seeds, rows, of_seeds)
    assert 0.92 <= together <= 0.99
    assert 0.92 <= alone <= 0.99


def test_three_seeds_count_as_three_and_tell_little_of_their_spread() -> None:
    """Student's t of two degrees of freedom is 4.3, the normal distribution's 1.96."""
    seeds = np.repeat([[0.1], [0.2], [0.3]], 2000, axis=1)
    found = accuracy(outcomes(seeds), validation(3, 2000))
    assert found is not None
    assert found.seeds_error == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert (found.high - found.low) / (2 * found.error) == pytest.approx(4.3, abs=0.6)


def test_all_configurations_tell_what_seeds_change() -> None:
    """Each has its own spread, as some are trained more than others, and the mean of all counts as one degree more."""
    rng, design = np.random.default_rng(0), validation(3, 10)
    common = rng.normal(size=3) * 0.2
    spreads = {Configuration(20, k): 0.01 if k < 10 else 0.1 for k in range(20)}
    study = {
        one: outcomes(0.5 + (common + rng.normal(size=3) * s)[:, None] + np.zeros((3, 10)))
        for one, s in spreads.items()
    }
    found = Variances.of(study, design)
    assert found is not None
    quiet, loud = (np.mean([found.each[one] for one in list(spreads)[part]]) for part in (slice(10), slice(10, 20)))
    assert 0.0001 < quiet < 0.5 * loud < 0.01, "what is common to all of a seed is not a difference"
    assert found.degrees == pytest.approx(0.9 + 2 * 0.95)
    between = found.between(Configuration(20, 0), Configuration(20, 19))
    assert between is not None
    assert found.degrees < between.degrees < 2 * found.degrees
    assert found.between(Configuration(20, 0), Configuration(3, 3)) is None
    assert Variances.of({}, design) is None
    assert Variances.of(study, validation(1, 10)) is None, "of one seed nobody knows"


# ---- searches over folds: ridge regression as the learner, so that the folds' models share rows as real ones do ----

CLASSES, SIZE = 4, 8
KINDS = ("all", "fewer", "random")


def drawn(rng: np.random.Generator, centres: Scores, rows: int) -> tuple[Scores, NDArray[np.int64]]:
    labels = rng.integers(0, CLASSES, rows)
    return centres[labels] + rng.normal(size=(rows, SIZE)), labels


def features(inputs: Scores, kind: str, seed: int) -> Scores:
    """Inputs unchanged, fewer of them, or through a random layer that the seed draws."""
    if kind == "fewer":
        return inputs[:, :6]
    if kind == "random":
        return np.maximum(inputs @ np.random.default_rng(seed).normal(size=(SIZE, 12)), 0)
    return inputs


def right(train: Scores, labels: NDArray[np.int64], judged: Scores, answers: NDArray[np.int64]) -> Scores:
    ones = np.ones((len(train), 1))
    inputs, new = np.hstack([train, ones]), np.hstack([judged, np.ones((len(judged), 1))])
    weights = np.linalg.solve(inputs.T @ inputs + np.eye(inputs.shape[1]), inputs.T @ np.eye(CLASSES)[labels])
    return np.asarray((new @ weights).argmax(axis=1) == answers, np.float64)


def searched(rng: np.random.Generator, centres: Scores, design: Design) -> dict[str, dict[Block, Outcome]]:
    """The outcomes of each kind on one draw of the data; each fold draws its own random layer, as trials do."""
    inputs, labels = drawn(rng, centres, design.rows)
    found: dict[str, dict[Block, Outcome]] = {kind: {} for kind in KINDS}
    for seed in design.seeds:
        order = rng.permutation(design.rows)
        for fold, rows in enumerate(np.array_split(order, design.folds)):
            rest, number = np.setdiff1d(order, rows), int(rng.integers(1 << 30))
            for kind in KINDS:
                x = features(inputs, kind, number)
                correct = right(x[rest], labels[rest], x[rows], labels[rows])
                found[kind][Block(seed, fold)] = Outcome(correct, rows=rows)
    return found


def true_accuracy(centres: Scores, rows: int, kind: str) -> float:
    rng, found = np.random.default_rng(11), []
    for seed in range(200):
        (inputs, labels), (new, answers) = drawn(rng, centres, rows), drawn(rng, centres, 2000)
        found.append(right(features(inputs, kind, seed), labels, features(new, kind, seed), answers).mean())
    return float(np.mean(found))


@pytest.mark.parametrize(("seeds", "searches"), [(1, 200), (3, 70)])
def test_the_interval_over_folds_is_right_in_95_of_100_searches(seeds: int, searches: int) -> None:
    centres = np.random.default_rng(1).normal(size=(CLASSES, SIZE)) * 0.6
    design, hits = Design.of(labelled=150, seeds=seeds), []
    true = {kind: true_accuracy(centres, 120, kind) for kind in KINDS}
    for search in range(searches):
        found = searched(np.random.default_rng(search), centres, design)
        variances = Variances.of({Configuration(9, k): found[kind] for k, kind in enumerate(KINDS)}, design)
        assert variances is not None
        for kind in ("fewer", "random"):
            pair = Configuration(9, 0), Configuration(9, KINDS.index(kind))
            told = difference(found["all"], found[kind], design, between=variances.between(*pair))
            assert told is not None
            hits.append(told.low <= true["all"] - true[kind] <= told.high)
    assert 0.92 <= np.mean(hits) <= 0.98


# ---- small examples ----


def test_the_correlated_t_is_that_of_the_paper() -> None:
    """Means 1, 2, 3, 4, 5 points: sd sqrt(2.5), times sqrt(1/5 + 1/4), t of 4 degrees 2.776."""
    blocks = [np.repeat([1.0, 0.0], [points, 100 - points]) for points in (1, 2, 3, 4, 5)]
    found = over_folds(blocks, folds=5, rope=0.005)
    assert found.mean == pytest.approx(0.03)
    assert found.error == pytest.approx(0.01 * np.sqrt(2.5 * 0.45))
    assert found.high == pytest.approx(0.03 + 2.776445 * found.error)
    assert found.worse == pytest.approx(0.01497, abs=1e-5)


def test_the_standard_error_is_that_of_the_analysis_of_variance() -> None:
    """Rows and seeds that add up exactly: no residual, so both parts are their own variances."""
    rows, seeds = np.array([0.0, 1.0, 2.0, 3.0]), np.array([[0.0], [1.0], [5.0]])
    lines = tuple((block,) for block in validation(3, 4).blocks)
    of_rows, of_seeds, _ = components(rows + seeds, Between(lines, float(seeds.var(ddof=1)), 2))
    assert of_rows == pytest.approx(rows.var(ddof=1) / 4)
    assert of_seeds == pytest.approx(seeds.var(ddof=1) / 3)


def test_the_two_directions_mirror_one_another() -> None:
    one, other = simulated(np.random.default_rng(0), 0.1, seeds=3, rows=300)[[0, 5]]
    design = validation(3, 300)
    there, back = difference(outcomes(one), outcomes(other), design), difference(outcomes(other), outcomes(one), design)
    assert there is not None
    assert back is not None
    assert (there.mean, there.error) == pytest.approx((-back.mean, back.error))
    assert (there.low, there.worse) == pytest.approx((-back.high, back.better), abs=0.01)


def test_few_rows_that_agree_do_not_prove_that_all_do() -> None:
    """Of 50 rows without a difference, by the rule of three up to 6 of 100 may differ."""
    same = over_rows(np.zeros((3, 50)), rope=0.005)
    assert (same.mean, same.high) == (0.0, pytest.approx(0.06, abs=0.02))
    assert same.worse > 0.2
    assert over_rows(np.zeros((3, 5000)), rope=0.005).worse == 0.0
    folds = over_folds([np.zeros(10)] * 5, folds=5, rope=0.005)
    assert folds.worse > 0.2


def test_only_blocks_that_both_were_judged_on_count() -> None:
    design = validation(3, 4)
    one = outcomes(np.array([[1.0, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]))
    other = {Block(0): Outcome(np.zeros(4)), Block(1): Outcome(np.zeros(4)), Block(2): Outcome(state="failed")}
    found = difference(one, other, design)
    assert found is not None
    assert (found.mean, found.seeds) == (0.875, 2)
    assert difference(one, {}, design) is None
    assert accuracy({}, design) is None


def test_a_seed_whose_folds_are_not_all_there_is_compared_by_folds() -> None:
    design = Design.of(labelled=20, seeds=2)
    whole = {b: Outcome(np.ones(4), rows=np.arange(4) + 4 * b.fold) for b in design.blocks}
    part = {b: Outcome(np.array([1.0, 1, 0, 0]), rows=np.arange(4) + 4 * b.fold) for b in design.blocks[:7]}
    found = difference(whole, part, design)
    assert found is not None
    assert (found.mean, found.rows) == (0.5, 28)


def test_rows_are_matched_by_their_numbers_whatever_the_folds() -> None:
    """A row that is wrong for all seeds is one row, although it is in another fold for each of them."""
    design, wrong = Design.of(labelled=10, seeds=2), 7
    rows = {b: np.roll(np.arange(10), 3 * b.seed)[2 * b.fold : 2 * b.fold + 2] for b in design.blocks}
    one = {b: Outcome(np.ones(2), rows=rows[b]) for b in design.blocks}
    other = {b: Outcome((rows[b] != wrong) * 1.0, rows=rows[b]) for b in design.blocks}
    found = difference(one, other, design)
    assert found is not None
    assert (found.rows, found.seeds, found.mean, found.seeds_error) == (10, 2, 0.1, 0.0)


def test_seeds_that_judge_other_rows_are_refused() -> None:
    one = {Block(seed): Outcome(np.ones(3), rows=np.arange(3) + seed) for seed in range(2)}
    with pytest.raises(PlanError, match="the seeds 0 and 1 judge different rows"):
        difference(one, one, validation(2, 3))


def test_an_accuracy_near_one_has_an_interval_all_the_same() -> None:
    found = accuracy(outcomes(np.ones((3, 100))), validation(3, 100))
    assert found is not None
    assert (found.mean, found.low) == (1.0, pytest.approx(0.97, abs=0.02))
