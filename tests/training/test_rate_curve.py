"""Suggestions of a curve, for curves with known answers."""

import numpy as np
import pytest

from ckpttool.training.rate_curve import Point, RateCurve, Smoother, longest_descent

RATES = np.geomspace(1e-6, 10, 101)


def curve(losses: np.ndarray, window: int = 5) -> RateCurve:
    """Return a curve without any smoothing."""
    points = [Point(*map(float, (rate, loss, loss))) for rate, loss in zip(RATES, losses, strict=False)]
    return RateCurve(points, window)


def test_a_descent_like_that_of_a_network() -> None:
    """A sigmoid of log(rate) decreases fastest in its middle, here at 1e-3; it starts to rise at 1e-1."""
    places = np.log10(RATES)
    losses = 2 / (1 + np.exp(3 * (places + 3))) + np.maximum(0, places + 1) ** 2
    found = curve(losses)
    assert found.steepest == pytest.approx(1e-3, rel=0.1)
    assert found.minimum == pytest.approx(1e-1, rel=0.2)
    assert found.suggestion == pytest.approx(1e-2, rel=0.2)
    assert found.valley == pytest.approx(np.sqrt(RATES[5] * 1e-1), rel=0.2), "halfway"
    assert not found.still_falling


def test_losses_that_only_rise_suggest_nothing() -> None:
    found = curve(np.linspace(1, 2, 101))
    assert (found.suggestion, found.steepest, found.valley, found.minimum) == (None,) * 4


def test_a_flat_curve_suggests_nothing_though_no_noise_is_in_it() -> None:
    found = curve(1.2 - 1e-4 * RATES / RATES.max())
    assert (found.suggestion, found.steepest, found.valley, found.minimum) == (None,) * 4


@pytest.mark.parametrize("seed", range(20))
def test_noise_suggests_nothing_and_a_descent_in_noise_does(seed: int) -> None:
    noise, smoother = np.random.default_rng(seed).normal(size=101), Smoother(5)
    for depth, expected in ((0.0, False), (5.0, True)):
        losses = noise - depth * (RATES > 1e-3)
        points = [
            Point(float(rate), float(loss), smoother.add(float(loss))) for rate, loss in zip(RATES, losses, strict=True)
        ]
        assert (RateCurve(points, 5).suggestion is not None) is expected


def test_a_lucky_first_batch_is_not_the_minimum() -> None:
    losses = np.concatenate([[0.0], np.full(30, 2.0), np.linspace(2, 0.5, 30), np.full(40, 0.5)])
    assert curve(losses).minimum == pytest.approx(RATES[60])


def test_a_descent_to_the_end_asks_for_more() -> None:
    """The end of the range is not a minimum, so the valley is suggested."""
    found = curve(np.linspace(2, 1, 101))
    assert found.still_falling
    assert found.suggestion == found.valley


@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_a_test_that_ended_at_once_suggests_nothing(count: int) -> None:
    found = curve(np.ones(count))
    assert found.suggestion is None
    assert len(found.as_json()["curve"]) == count


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_descent_is_that_of_all_subsequences(seed: int) -> None:
    values = np.random.default_rng(seed).permutation(12)
    best = 0
    for mask in range(1, 1 << 12):
        chosen = [value for place, value in enumerate(values) if mask >> place & 1]
        if chosen == sorted(chosen, reverse=True):
            best = max(best, len(chosen))
    assert longest_descent(values)[1] == best
