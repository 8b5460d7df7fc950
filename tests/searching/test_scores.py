"""Scores in closed form equal those by fitting row by row, and by the evidence's own definition."""

from typing import Any

import numpy as np
import pytest

from ckpttool.searching.scores import PENALTIES, Spectrum, score
from ckpttool.searching.targets import Amounts, Classes, Labels

FORMS = pytest.mark.parametrize("width", [5, 60], ids=["columns", "rows"])
"""Fewer columns than rows, and more: one or the other product is decomposed."""


def problem(width: int, rows: int = 30) -> tuple[Any, Any]:
    random = np.random.default_rng(3)
    features = random.normal(size=(rows, width)).astype(np.float32) + 2
    return features, features[:, :2].astype(np.float64) @ [[1.0, 0.5], [0.0, 2.0]] + random.normal(size=(rows, 2))


def ridge(features: Any, columns: Any, penalty: float) -> tuple[Any, Any]:
    """Return the unpenalised intercept and the weights of a ridge regression by its normal equations."""
    middle = features.mean(axis=0)
    centred = features - middle
    products = centred.T @ centred + penalty * np.eye(features.shape[1])
    weights = np.linalg.solve(products, centred.T @ (columns - columns.mean(axis=0)))
    return columns.mean(axis=0) - middle @ weights, weights


@FORMS
def test_what_is_left_out_is_predicted_as_by_a_fit_to_the_others(width: int) -> None:
    features, columns = problem(width)
    spectrum = Spectrum.of(features)
    centred = columns - columns.mean(axis=0)
    found, penalty = spectrum.left_out(centred)
    assert penalty in PENALTIES.tolist()
    absolute = penalty * spectrum.values.sum() / len(features)
    for row in range(len(features)):
        others = np.arange(len(features)) != row
        intercept, weights = ridge(features[others].astype(np.float64), centred[others], absolute)
        np.testing.assert_allclose(found[row], intercept + features[row] @ weights, rtol=1e-4, atol=1e-5)


def test_features_that_tell_nothing_are_worth_chance() -> None:
    """Also features where each row's are known from the others', as with more columns than rows."""
    random, targets = np.random.default_rng(1), Classes.of(np.repeat([0, 1], 20))
    for width in (3, 200):
        shares = [score(random.normal(size=(40, width)).astype(np.float32), targets).right.mean() for _ in range(20)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.1)


@FORMS
def test_the_evidence_is_the_largest_of_a_linear_model(width: int) -> None:
    features, columns = problem(width)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    target = columns[:, :1] - columns[:, :1].mean()
    found = Spectrum.of(features).evidence(target)

    def evidence(alpha: float, beta: float) -> float:
        """The density of the target, in the directions that remain after centring."""
        basis = np.linalg.svd(np.eye(len(target)) - 1 / len(target))[0][:, :-1]
        covariance = basis.T @ (centred @ centred.T / alpha + np.eye(len(target)) / beta) @ basis
        rotated = (basis.T @ target)[:, 0]
        quadratic = rotated @ np.linalg.solve(covariance, rotated)
        return float(-(np.linalg.slogdet(2 * np.pi * covariance)[1] + quadratic) / 2 / len(rotated))

    grid = 10.0 ** np.arange(-4, 4, 0.25)
    best = max(evidence(alpha, beta) for alpha in grid for beta in grid)
    assert best - 1e-9 <= found <= best + 0.02


def test_features_that_tell_the_classes_apart_score_higher() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 200)
    good = (np.eye(3)[classes] + random.normal(size=(200, 3)) * 0.3).astype(np.float32)
    noise = random.normal(size=(200, 3)).astype(np.float32)
    targets = Classes.of(classes)
    better, worse = score(good, targets), score(noise, targets)
    assert better.logme > worse.logme
    assert better.right.mean() > 0.9
    assert worse.right.mean() < 0.5


def test_features_that_are_all_the_same_tell_nothing() -> None:
    targets = Classes.of(np.array([0] * 12 + [1] * 6))
    with np.errstate(all="raise"):
        found = score(np.ones((18, 4), np.float32), targets)
    assert np.isfinite(found.logme)
    assert found.right.mean() == pytest.approx(12 / 18)


def test_amounts_have_r_squared_and_labels_their_share() -> None:
    features, _ = problem(5, rows=200)
    line = features[:, 0] * 3.0 + 1
    assert score(features, Amounts.of(line)).right.mean() == pytest.approx(1, abs=1e-3)
    labels = (features[:, :2] > 2).astype(np.float64)
    assert 0.85 < score(features, Labels(labels)).right.mean() <= 1
