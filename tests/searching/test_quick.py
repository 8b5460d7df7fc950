"""The ranking: by accuracy on held-out rows, with an interval, ties, and the scores of chosen depths."""

from typing import Any

import numpy as np
import pytest

from ckpttool.searching.depths import Depth
from ckpttool.searching.features import Features
from ckpttool.searching.quick import ranking, resampled, wilson
from ckpttool.searching.targets import Classes


def at_depth(number: int, vectors: Any) -> Features:
    return Features(Depth(number, ("layer",), "t:0"), vectors.shape[1:], vectors.shape[1], vectors.astype(np.float32))


def test_the_better_features_come_first_and_their_equals_are_tied() -> None:
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 60)
    good, bad = np.eye(3)[classes] + random.normal(size=(180, 3)) * 0.4, random.normal(size=(180, 3))
    found = ranking([at_depth(0, bad), at_depth(1, good), at_depth(2, good * 2)], Classes.of(classes), seed=1)
    assert sorted(each.rank for each in found.depths[1:]) == [1, 2]
    assert found.depths[0].rank == 3
    assert [each.tied for each in found.depths] == [False, True, True]
    assert found.best.interval[0] < found.best.expected < found.best.interval[1]
    assert found.chosen == pytest.approx(found.best.expected, abs=0.03)


def test_the_best_of_many_that_are_worth_nothing_is_worth_less_than_it_seems() -> None:
    random = np.random.default_rng(5)
    classes = np.repeat([0, 1], 20)
    found = ranking([at_depth(k, random.normal(size=(40, 4))) for k in range(12)], Classes.of(classes), seed=1)
    assert found.best.expected > 0.55
    assert found.chosen < found.best.expected - 0.05


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    hits = [low <= 0.9 <= high for low, high in (wilson(random.binomial(200, 0.9) / 200, 200) for _ in range(500))]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)
    means = (resampled(random.normal(size=150), random) for _ in range(200))
    assert np.mean([low <= 0 <= high for low, high in means]) == pytest.approx(0.95, abs=0.05)
