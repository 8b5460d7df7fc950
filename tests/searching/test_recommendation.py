"""Recommendations of simulated searches are seldom wrong; if rows are too few, the necessary number is reported."""

from statistics import NormalDist

import numpy as np
import pytest

from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Design, Outcome
from ckpttool.searching.estimates import Estimate
from ckpttool.searching.recommendation import needed, recommend

FULL, HALF, FROZEN = Configuration(4, 0), Configuration(4, 2), Configuration(4, 4)
Known = dict[Configuration, dict[Block, Outcome]]


def searched(rng: np.random.Generator, true: dict[Configuration, float], design: Design) -> Known:
    """Outcomes of configurations with these true accuracies: rows are easy or hard, and suit some better."""
    rows = design.rows
    hard, found = rng.normal(size=rows) * 2, {}
    for one, accuracy in true.items():
        skill = NormalDist().inv_cdf(accuracy) * np.sqrt(4 + 0.02 + 0.02)
        own, blocks = rng.normal(size=rows) * 0.02**0.5, {}
        for seed in design.seeds:
            right = (skill + hard + own + rng.normal(size=rows) * 0.02**0.5 > 0) * 1.0
            folds = np.arange(rows) * design.folds // rows
            for fold in range(design.folds):
                blocks[Block(seed, fold)] = Outcome(right[folds == fold], rows=np.flatnonzero(folds == fold))
        found[one] = blocks
    return found


TRUE = {SCRATCH: 0.87, FULL: 0.90, HALF: 0.898, FROZEN: 0.88, Configuration(2, 2): 0.885, Configuration(2, 0): 0.895}


def answers(design: Design, searches: int) -> tuple[float, float, list[int]]:
    """The fraction of searches without a recommendation, that of wrong ones among the others, and the reported rows."""
    wrong, given, told = 0, 0, []
    for seed in range(searches):
        found = recommend(searched(np.random.default_rng(seed), TRUE, design), design, depths=4)
        assert found is not None
        if found.configuration is None:
            told.append(found.rows or 0)
        else:
            given += 1
            wrong += TRUE[found.configuration] < max(TRUE.values()) - 0.005 - 1e-9
    return 1 - given / searches, wrong / max(given, 1), told


def test_it_is_seldom_wrong_and_says_how_many_rows_would_do() -> None:
    none, wrong, told = answers(Design.of(labelled=150, seeds=1), searches=150)
    assert wrong <= 0.1
    assert none > 0.3
    rows = int(np.median(told))
    none, wrong, _ = answers(Design("folds", rows, 5, (0,)), searches=60)
    assert none <= 0.25
    assert wrong <= 0.1


# ---- small examples ----

ROWS = Design.of(labelled=50_000, validation=5_000, seeds=3)


def exactly(rows: int, design: Design = ROWS, **wrong: tuple[Configuration, int]) -> Known:
    """Configurations with these numbers of wrong rows: those of a better one are among those of a worse one."""
    return {
        one: {b: Outcome((np.arange(rows) >= count) * 1.0, rows=np.arange(rows)) for b in design.blocks}
        for one, count in wrong.values()
    }


def test_fewer_trained_layers_are_recommended_where_they_are_as_good() -> None:
    found = recommend(exactly(5_000, a=(FULL, 500), b=(HALF, 503), c=(FROZEN, 900)), ROWS, depths=4)
    assert found is not None
    assert (found.best, found.configuration, found.tied) == (FULL, HALF, (FULL,))
    assert found.why == (
        "keep 4, freeze 2 trains 2 layers, the best on the selection data, keep 4, freeze 0, trains 4 layers; "
        "it is worse by more than 0.5 points with a probability of under 1 %"
    )
    assert found.as_json()["recommended"] == {"keep": 4, "freeze": 2, "why": found.why}
    assert found.as_json()["tied"] == [{"keep": 4, "freeze": 0}]


def test_from_scratch_trains_all_layers() -> None:
    found = recommend(exactly(5_000, a=(SCRATCH, 500), b=(HALF, 500)), ROWS, depths=4)
    assert found is not None
    assert found.configuration == HALF


def test_few_rows_recommend_nothing_and_say_how_many_would() -> None:
    design = Design.of(labelled=50, seeds=1)
    rng = np.random.default_rng(0)
    known = {one: {b: Outcome(rng.binomial(1, 0.8, 10) * 1.0) for b in design.blocks} for one in (FULL, HALF)}
    found = recommend(known, design, depths=4)
    assert found is not None
    assert found.configuration is None
    assert found.rows is not None
    assert found.rows > 250
    assert f"about {found.rows:,} judged rows would" in found.why
    recommended = found.as_json()["recommended"]
    assert (recommended["keep"], recommended["rows"]) == (None, found.rows)


def test_where_seeds_differ_more_seeds_are_asked_for() -> None:
    rival = Estimate(0.0, -0.2, 0.2, 0.4, 0.4, rows_error=0.01, seeds_error=0.1, rows=5_000, seeds=3)
    rows, seeds = needed({FULL: rival}, rope=0.005)
    assert rows > 5_000
    assert seeds is not None
    assert seeds > 100


def test_what_was_stopped_or_failed_is_not_compared() -> None:
    known = exactly(5_000, a=(FULL, 500), b=(HALF, 700), c=(FROZEN, 100))
    known[FROZEN] = {b: o if b.seed == 0 else Outcome(state="stopped") for b, o in known[FROZEN].items()}
    known[SCRATCH] = {Block(0): Outcome(state="failed")}
    found = recommend(known, ROWS, depths=4)
    assert found is not None
    assert (found.configuration, found.tried) == (FULL, (FULL, HALF))


def test_a_block_that_few_have_when_a_search_is_interrupted_does_not_count() -> None:
    """The first to finish a block is not alone because of that; one that has only started is not compared."""
    known = exactly(5_000, a=(FULL, 500), b=(HALF, 600), c=(FROZEN, 900), d=(SCRATCH, 100))
    keeps = {FULL: 2, HALF: 3, FROZEN: 2, SCRATCH: 1}
    part = {one: {b: o for b, o in blocks.items() if b.seed < keeps[one]} for one, blocks in known.items()}
    found = recommend(part, ROWS, depths=4)
    assert found is not None
    assert (found.configuration, set(found.tried)) == (FULL, {FULL, HALF, FROZEN})


def test_of_one_seed_it_is_said_that_it_is_one() -> None:
    design = Design.of(labelled=50_000, validation=5_000, seeds=1)
    found = recommend(exactly(5_000, design, a=(FULL, 500), b=(HALF, 900)), design, depths=4)
    assert found is not None
    assert found.why.endswith("; this is from one random seed: the variation between seeds is not known")


@pytest.mark.parametrize("known", [{}, {FULL: {}}, {FULL: {Block(0): Outcome(state="failed")}}])
def test_of_nothing_nothing_is_said(known: Known) -> None:
    assert recommend(known, ROWS, depths=4) is None


def test_a_single_configuration_is_what_is_recommended() -> None:
    found = recommend(exactly(5_000, a=(FROZEN, 10)), ROWS, depths=4)
    assert found is not None
    assert found.why == "keep 4, freeze 4 is the best on the selection data, and it trains no kept layer"
