"""Student's t compared with published tables (Abramowitz and Stegun 26.10; NIST/SEMATECH e-Handbook 1.3.6.7.2)."""

import pytest

from ckpttool.searching.student import probability, quantile

TABLE = {
    1: (3.078, 6.314, 12.706, 31.821, 63.657, 318.309),
    2: (1.886, 2.920, 4.303, 6.965, 9.925, 22.327),
    3: (1.638, 2.353, 3.182, 4.541, 5.841, 10.215),
    4: (1.533, 2.132, 2.776, 3.747, 4.604, 7.173),
    5: (1.476, 2.015, 2.571, 3.365, 4.032, 5.893),
    9: (1.383, 1.833, 2.262, 2.821, 3.250, 4.297),
    14: (1.345, 1.761, 2.145, 2.624, 2.977, 3.787),
    30: (1.310, 1.697, 2.042, 2.457, 2.750, 3.385),
    100: (1.290, 1.660, 1.984, 2.364, 2.626, 3.174),
    10_000: (1.282, 1.645, 1.960, 2.326, 2.576, 3.090),
}
SHARES = (0.90, 0.95, 0.975, 0.99, 0.995, 0.999)


@pytest.mark.parametrize("degrees", TABLE)
def test_quantiles_are_those_of_the_tables(degrees: int) -> None:
    assert [quantile(share, degrees) for share in SHARES] == pytest.approx(TABLE[degrees], abs=6e-4)


@pytest.mark.parametrize("degrees", TABLE)
def test_probability_is_the_inverse_and_symmetric(degrees: int) -> None:
    for share in SHARES:
        assert probability(quantile(share, degrees), degrees) == pytest.approx(share, abs=1e-9)
        assert quantile(1 - share, degrees) == pytest.approx(-quantile(share, degrees), abs=1e-6)


def test_between_the_closed_form_and_the_normal_there_is_no_step() -> None:
    assert probability(1.96, 1000) == pytest.approx(probability(1.96, 1001), abs=2e-4)
