"""Estimates of a mean with its interval: over rows and seeds, which are crossed, or over folds.

The quantity of interest is the mean on other rows and with other seeds, so both contribute to its standard error.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ckpttool.searching.configurations import Block
from ckpttool.searching.student import probability, quantile

Scores = NDArray[np.float64]
Lines = tuple[tuple[Block, ...], ...]
"""Groups of blocks that share a seed, or of single folds of one seed."""
DRAWS = 2000
_MANY_KINDS = 64
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and the parts of its standard error that are due to rows and to seeds.

    `worse` and `better` are the probabilities that it is below or above zero by more than the rope.
    """

    mean: float
    low: float
    high: float
    worse: float
    better: float
    rows_error: float
    seeds_error: float
    rows: int
    seeds: int

    @property
    def error(self) -> float:
        """The standard error."""
        return sqrt(self.rows_error**2 + self.seeds_error**2)


@dataclass(frozen=True)
class Between:
    """The variance of an accuracy or a difference between lines, and its degrees of freedom."""

    lines: Lines
    variance: float
    degrees: float


def over_folds(scores: list[Scores], folds: int, rope: float) -> Estimate:
    """Return the estimate of a mean over folds: the Bayesian correlated t, with the correlation 1 / folds.

    The variance of the blocks is at least that of one win and one loss among all rows: few rows may agree by chance.

    >>> found = over_folds([np.array([1.0, 0]), np.array([0.0, 0]), np.array([1.0, 0])], folds=3, rope=0.005)
    >>> round(found.mean, 3), round(found.error, 3)
    (0.333, 0.323)

    Source: Corani and Benavoli, A Bayesian approach for comparing cross-validated algorithms on multiple data sets,
    Machine Learning 100 (2015), equation 3; after Nadeau and Bengio, Inference for the generalization error (2003).
    """
    means = np.array([block.mean() for block in scores])
    rows = sum(block.size for block in scores)
    spread = means.var(ddof=1) if means.size > 1 else 0.0
    least = 2 / (rows + 2) * means.size / rows
    correlation = 1 / folds
    error = sqrt(max(spread, least) * (1 / means.size + correlation / (1 - correlation)))
    mean, degrees = float(means.mean()), max(means.size - 1, 1)
    reach = error * quantile(_HIGH, degrees)
    worse, better = probability((-rope - mean) / error, degrees), probability((mean - rope) / error, degrees)
    return Estimate(mean, mean - reach, mean + reach, worse, better, error, 0.0, rows, 1)


def over_rows(
    scores: Scores, rope: float, unseen: tuple[float, float] = (-1.0, 1.0), between: Between | None = None
) -> Estimate:
    """Return the estimate of a mean over rows and seeds (a line per seed), by a bootstrap with a corrected scale.

    Rows are resampled, as their means over seeds. Resampling few seeds would underestimate their variance, so the
    effect of seeds is drawn from a normal distribution with the variance `between`. The draws are scaled by the
    uncertainty of both variances. Two rows with the least and the greatest score are added, for events that few rows
    do not show.

    >>> found = over_rows(np.array([[1.0, 0, 0, 0, 0, 0, -1, 1, 0, 0]]), rope=0.005)
    >>> found.mean, found.low < 0 < found.high
    (0.1, True)

    Sources: Gallas, One-shot estimate of MRMC variance (2006), for the standard error; Satterthwaite (1946) for its
    degrees of freedom; Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data (2012), for the two rows.
    """
    known = np.concatenate([scores, np.tile(unseen, (len(scores), 1))], axis=1)
    rows_part, seeds_part, degrees = components(known, between)
    draws = stretched(known.mean(axis=0), sqrt(rows_part), sqrt(seeds_part), degrees)
    low, high = (float(value) for value in np.quantile(draws, (_LOW, _HIGH)))
    worse, better = float((draws < -rope).mean()), float((draws > rope).mean())
    seeds, rows = scores.shape
    return Estimate(float(scores.mean()), low, high, worse, better, sqrt(rows_part), sqrt(seeds_part), rows, seeds)


def components(scores: Scores, between: Between | None = None) -> tuple[float, float, float]:
    """Return the variance of the mean that is due to rows and to seeds, and its degrees of freedom.

    Lines also differ by chance, as each model gets other rows right; only the variance beyond that is due to seeds.

    >>> scores = np.array([[1.0, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]])
    >>> seeds = ((Block(0),), (Block(1),), (Block(2),))
    >>> known = Between(seeds, variance=float(scores.mean(axis=1).var(ddof=1)), degrees=2)
    >>> [round(value, 4) for value in components(scores, known)]
    [0.0463, 0.0093, 3.236]

    Sources: the two-way analysis of variance without repetition; Satterthwaite, An approximate distribution of
    estimates of variance components (1946).
    """
    seeds, rows = scores.shape
    by_row = float(scores.mean(axis=0).var(ddof=1)) / rows
    if between is None:
        return by_row, 0.0, rows - 1.0
    count = len(between.lines)
    rest = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    residual = float((rest**2).sum()) / max((rows - 1) * (seeds - 1), 1) / rows / seeds
    chance = residual if seeds > 1 else by_row
    excess = max(between.variance / count - chance, 0.0)
    doubt = by_row**2 / (rows - 1)
    if excess:
        doubt += (between.variance / count) ** 2 / between.degrees + residual**2 / ((rows - 1) * max(seeds - 1, 1))
    return by_row, excess, max((by_row + excess) ** 2 / doubt, 1.0) if doubt else rows - 1.0


def stretched(scores: Scores, of_rows: float, of_seeds: float, degrees: float) -> Scores:
    """Return draws of a mean: resampled rows plus the effect of seeds, scaled to the standard errors of both.

    >>> draws = stretched(np.array([1.0, 0, 0, -1]), of_rows=0.3, of_seeds=0.4, degrees=1000)
    >>> round(float(draws.std()), 1)
    0.5
    """
    rng, rows = np.random.default_rng(0), scores.size
    kinds, counts = np.unique(scores, return_counts=True)
    means = rng.multinomial(rows, counts / rows, size=DRAWS) @ kinds / rows if kinds.size <= _MANY_KINDS else None
    means = rng.normal(scores.mean(), scores.std(), size=DRAWS) if means is None else means
    spread, centre = means.std(), scores.mean()
    drawn = (means - centre) * (of_rows / spread if spread else 0.0) + rng.normal(0, of_seeds, size=DRAWS)
    return np.asarray(centre + drawn * np.sqrt(degrees / rng.chisquare(degrees, size=DRAWS)))
