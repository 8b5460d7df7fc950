"""How much better one configuration is than another, of the rows that both were judged on, and how sure that is.

Rows and seeds are crossed: each row is judged once for every seed. What is asked for is the difference on other rows
and with other seeds, so both contribute to its standard error. With one seed over folds nothing tells what other seeds
would change; there the correlated t is taken, which simulated searches show to be wide enough for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import PlanError
from ckpttool.search.configurations import Block, Design, Outcome
from ckpttool.search.student import probability, quantile

Scores = NDArray[np.float64]
DRAWS = 2000
_MANY_KINDS = 64
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True)
class Estimate:
    """A mean with the interval that it is in with 95 %, and the parts that rows and seeds have in its standard error.

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


def difference(
    one: Mapping[Block, Outcome], other: Mapping[Block, Outcome], design: Design, rope: float = 0.005
) -> Estimate | None:
    """Return how much better `one` is than `other` on the blocks that both were judged on; None where there is none.

    >>> design = Design.of(labelled=50_000, validation=1_000, seeds=3)
    >>> rng = np.random.default_rng(0)
    >>> one, other = ({b: Outcome(rng.binomial(1, p, 1_000) * 1.0) for b in design.blocks} for p in (0.95, 0.90))
    >>> found = difference(one, other, design)
    >>> found.low < 0.05 < found.high, found.worse < 0.05
    (True, True)
    """
    blocks = [block for block in design.blocks if _is_judged(one.get(block)) and _is_judged(other.get(block))]
    scores = {block: np.subtract(one[block].correct, other[block].correct, dtype=np.float64) for block in blocks}
    return _estimate(scores, one, design, rope, unseen=(-1.0, 1.0)) if blocks else None


def accuracy(outcomes: Mapping[Block, Outcome], design: Design) -> Estimate | None:
    """Return the accuracy of a configuration with its interval; None where it was judged on no block.

    >>> design = Design.of(labelled=50_000, validation=4, seeds=1)
    >>> accuracy({Block(0): Outcome(np.array([1.0, 0.0, 1.0, 1.0]))}, design).mean
    0.75
    """
    scores = {block: outcomes[block].correct * 1.0 for block in design.blocks if _is_judged(outcomes.get(block))}
    return _estimate(scores, outcomes, design, 0.0, unseen=(0.0, 1.0)) if scores else None


def _is_judged(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.accuracy is not None


def _estimate(
    scores: Mapping[Block, Scores],
    outcomes: Mapping[Block, Outcome],
    design: Design,
    rope: float,
    unseen: tuple[float, float],
) -> Estimate:
    """Return the estimate of the scores' mean: by rows and seeds where these are crossed, else by folds."""
    crossed = by_seed(scores, {block: outcomes[block].rows for block in scores}, design)
    if crossed is None or (design.kind == "folds" and len(crossed) == 1):
        return over_folds([scores[block] for block in sorted(scores)], design.folds, rope)
    return over_rows(crossed, rope, unseen)


def by_seed(
    scores: Mapping[Block, Scores], rows: Mapping[Block, NDArray[np.int64] | None], design: Design
) -> Scores | None:
    """Return a matrix of a line per seed and a column per row; None where a seed's folds are not all there.

    Raises:
        PlanError: two seeds judged different rows.
    """
    lines: dict[int, tuple[Scores, NDArray[np.int64]]] = {}
    for seed in sorted({block.seed for block in scores}):
        blocks = [block for block in design.blocks if block.seed == seed]
        if any(block not in scores for block in blocks):
            return None
        judged = [rows[block] for block in blocks]
        known = [numbers for numbers in judged if numbers is not None]
        if design.kind == "folds" and len(known) < len(blocks):
            return None
        line = np.concatenate([scores[block] for block in blocks])
        numbers = np.concatenate(known) if len(known) == len(blocks) else np.arange(line.size)
        order = np.argsort(numbers, kind="stable")
        lines[seed] = line[order], numbers[order]
    first = next(iter(lines.values()))[1]
    for seed, (_, numbers) in lines.items():
        if not np.array_equal(numbers, first):
            raise PlanError(f"the seeds {min(lines)} and {seed} judge different rows; they are compared row by row")
    return np.stack([line for line, _ in lines.values()])


def over_folds(scores: list[Scores], folds: int, rope: float) -> Estimate:
    """Return the estimate of a mean over folds: the Bayesian correlated t, with the correlation 1 / folds.

    The spread of the blocks is at least what a win and a loss among all rows would give: few rows may agree by chance.

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


def over_rows(scores: Scores, rope: float, unseen: tuple[float, float] = (-1.0, 1.0)) -> Estimate:
    """Return the estimate of a mean over rows and seeds (a line per seed): a bootstrap with an honest scale.

    Rows and seeds are drawn again together. Alone that is too narrow, for it takes the few seeds there are for all: so
    the draws are stretched to the standard error of the two-way analysis of variance, and by the doubt about that. Two
    rows are added, of the least and the greatest score, for what few rows have not shown.

    >>> found = over_rows(np.array([[1.0, 0, 0, 0, 0, 0, -1, 1, 0, 0]]), rope=0.005)
    >>> found.mean, found.low < 0 < found.high
    (0.1, True)

    Sources: Owen, The pigeonhole bootstrap (2007); Gallas, One-shot estimate of MRMC variance (2006), for the standard
    error; Satterthwaite (1946) for its degrees of freedom; Bonett and Price, Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data (2012), for the two rows.
    """
    known = np.concatenate([scores, np.tile(unseen, (len(scores), 1))], axis=1)
    rows_part, seeds_part, degrees = components(known)
    draws = stretched(known, sqrt(rows_part + seeds_part), degrees)
    low, high = (float(value) for value in np.quantile(draws, (_LOW, _HIGH)))
    worse, better = float((draws < -rope).mean()), float((draws > rope).mean())
    seeds, rows = scores.shape
    return Estimate(float(scores.mean()), low, high, worse, better, sqrt(rows_part), sqrt(seeds_part), rows, seeds)


def components(scores: Scores) -> tuple[float, float, float]:
    """Return the parts that rows and seeds have in the variance of the mean, and its degrees of freedom.

    >>> [round(value, 4) for value in components(np.array([[1.0, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]]))]
    [0.0463, 0.0093, 3.236]

    Sources: the two-way analysis of variance without repetition; Satterthwaite, An approximate distribution of
    estimates of variance components (1946).
    """
    seeds, rows = scores.shape
    by_row = float(seeds * scores.mean(axis=0).var(ddof=1))
    if seeds == 1:
        return by_row / rows, 0.0, rows - 1.0
    by_seed = float(rows * scores.mean(axis=1).var(ddof=1))
    rest = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    residual = float((rest**2).sum() / ((rows - 1) * (seeds - 1)))
    excess = max(by_seed - residual, 0.0)
    doubt = by_row**2 / (rows - 1)
    if excess:
        doubt += by_seed**2 / (seeds - 1) + residual**2 / ((rows - 1) * (seeds - 1))
    size = rows * seeds
    return by_row / size, excess / size, max((by_row + excess) ** 2 / doubt, 1.0) if doubt else rows - 1.0


def stretched(scores: Scores, error: float, degrees: float) -> Scores:
    """Return draws of the mean, of rows and seeds drawn again, stretched to a standard error that is known so well.

    >>> draws = stretched(np.array([[1.0, 0, 0, -1], [1, 0, -1, 0]]), error=0.5, degrees=1000)
    >>> round(float(draws.std()), 1)
    0.5
    """
    seeds = len(scores)
    rng = np.random.default_rng(0)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    means = np.einsum("ds,ds->d", _of_rows(scores, rng), of_seeds.astype(np.float64)) / seeds
    centre, spread = scores.mean(), means.std()
    doubt = np.sqrt(degrees / rng.chisquare(degrees, size=DRAWS))
    return np.asarray(centre + (means - centre) * (error / spread if spread else 0.0) * doubt)


def _of_rows(scores: Scores, rng: np.random.Generator) -> Scores:
    """Return draws of the seeds' means, a line each, of rows drawn again; their normal limit for many kinds of rows."""
    rows = scores.shape[1]
    kinds, counts = _kinds(scores)
    if counts.size > _MANY_KINDS:
        from_mean = scores - scores.mean(axis=1, keepdims=True)
        return rng.multivariate_normal(scores.mean(axis=1), from_mean @ from_mean.T / rows**2, size=DRAWS)
    return np.asarray(rng.multinomial(rows, counts / rows, size=DRAWS) @ kinds.T / rows)


def _kinds(scores: Scores) -> tuple[Scores, NDArray[np.int64]]:
    """Return the columns that differ and how many there are of each; scores of 0 and 1 have few kinds of rows."""
    codes = np.zeros(scores.shape[1], np.int64)
    for line in scores:
        values, places = np.unique(line, return_inverse=True)
        _, codes = np.unique(codes * values.size + places, return_inverse=True)
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return scores[:, first], counts
