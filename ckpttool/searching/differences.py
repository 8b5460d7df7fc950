"""Differences in accuracy between configurations, on the rows that both evaluated, with confidence intervals.

Rows and seeds are crossed: each row is evaluated once per seed. There are few seeds, or only the folds of one (each
with its own initial values), so the variance between seeds is estimated from all configurations of a study. If folds of
a seed are missing, the correlated t-test is used. In simulated searches, 92 to 98 of 100 intervals are right
(`benchmarks/bench_search_coverage.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import PlanError
from ckpttool.searching.configurations import Block, Configuration, Design, Outcome, Outcomes
from ckpttool.searching.estimates import Between, Estimate, Lines, Scores, over_folds, over_rows

_SURE = 0.005
"""The least distance of an accuracy from 0 and 1 for its binomial variance."""


def difference(
    one: Mapping[Block, Outcome],
    other: Mapping[Block, Outcome],
    design: Design,
    rope: float = 0.005,
    between: Between | None = None,
) -> Estimate | None:
    """Return the difference in accuracy of `one` to `other` on the blocks of both; None if there are none.

    `between` is the variance of the difference between seeds, estimated from a study; by default from these two.

    >>> design = Design.of(labelled=50_000, validation=1_000, seeds=3)
    >>> rng = np.random.default_rng(0)
    >>> one, other = ({b: Outcome(rng.binomial(1, p, 1_000) * 1.0) for b in design.blocks} for p in (0.95, 0.90))
    >>> found = difference(one, other, design)
    >>> found.low < 0.05 < found.high, found.worse < 0.05
    (True, True)
    """
    blocks = [block for block in design.blocks if _is_judged(one.get(block)) and _is_judged(other.get(block))]
    scores = {block: np.subtract(one[block].correct, other[block].correct, dtype=np.float64) for block in blocks}
    return _estimate(scores, one, design, rope, (-1.0, 1.0), between) if blocks else None


def accuracy(outcomes: Mapping[Block, Outcome], design: Design) -> Estimate | None:
    """Return the accuracy of a configuration with its interval; None if it was evaluated on no block.

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
    known: Between | None = None,
) -> Estimate:
    """Return the estimate of the scores' mean: over rows and seeds if these are crossed, else over folds."""
    crossed = by_seed(scores, {block: outcomes[block].rows for block in scores}, design)
    if crossed is None:
        return over_folds([scores[block] for block in sorted(scores)], design.folds, rope)
    found = lines(scores, design)
    if found and (known is None or known.lines != found):
        means = np.array([np.concatenate([scores[block] for block in line]).mean() for line in found])
        known = Between(found, float(means.var(ddof=1)), len(found) - 1)
    return over_rows(crossed, rope, unseen, known if found else None)


def lines(blocks: Collection[Block], design: Design) -> Lines:
    """Return the blocks in lines that would differ with other seeds: one per seed, or one per fold of a single seed.

    >>> lines([Block(0, 0), Block(0, 1), Block(1, 0), Block(1, 1)], Design.of(labelled=100, seeds=2, folds=2))
    ((Block(seed=0, fold=0), Block(seed=0, fold=1)), (Block(seed=1, fold=0), Block(seed=1, fold=1)))
    >>> lines([Block(0, 0), Block(0, 1)], Design.of(labelled=100, seeds=1, folds=2))
    ((Block(seed=0, fold=0),), (Block(seed=0, fold=1),))
    """
    every = [tuple(block for block in design.blocks if block.seed == seed) for seed in design.seeds]
    whole = tuple(line for line in every if all(block in blocks for block in line))
    if len(whole) == 1:
        whole = tuple((block,) for block in whole[0])
    return whole if len(whole) > 1 else ()


@dataclass(frozen=True)
class Variances:
    """The variance of each configuration's accuracy between lines, without the part that all share in a line."""

    lines: Lines
    each: Mapping[Configuration, float]
    degrees: float

    @classmethod
    def of(cls, outcomes: Outcomes, design: Design) -> "Variances | None":
        """Estimate them for all configurations of a study together; None without lines that all configurations have.

        Each variance is that of one configuration, around the means of the configuration and of the line; the common
        variance, relative to the binomial variance, counts as one more degree of freedom. With fully pooled variances,
        configurations with many trained layers would seem more certain than they are.

        Sources: the two-way analysis of variance; Smyth, Linear models and empirical Bayes methods (2004), section 3,
        for the mean that variances are moderated by.
        """
        blocks = [b for b in design.blocks if outcomes and all(_is_judged(known.get(b)) for known in outcomes.values())]
        found = lines(blocks, design)
        if not found:
            return None
        scores = [
            [np.concatenate([known[b].correct for b in line]).mean() for line in found] for known in outcomes.values()
        ]
        means, count = np.array(scores), len(outcomes)
        rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
        own, prior = (len(found) - 1) * (1 - 1 / count), max(1 - 2 / count, 0.0)
        variances = (rest**2).sum(axis=1) / own if own else rest[:, 0]
        right = np.clip(means.mean(axis=1), _SURE, 1 - _SURE)
        common = right * (1 - right) * (variances.mean() / (right * (1 - right)).mean())
        moderated = (prior * common + own * variances) / (prior + own or 1.0)
        return cls(found, dict(zip(outcomes, moderated.tolist(), strict=True)), prior + own)

    def between(self, one: Configuration, other: Configuration) -> Between | None:
        """Return the variance of a difference; None if one of the two configurations was not part of the estimate."""
        if one not in self.each or other not in self.each:
            return None
        a, b = self.each[one], self.each[other]
        return Between(self.lines, a + b, self.degrees * (a + b) ** 2 / (a**2 + b**2) if a + b else 2 * self.degrees)


def by_seed(
    scores: Mapping[Block, Scores], rows: Mapping[Block, NDArray[np.int64] | None], design: Design
) -> Scores | None:
    """Return a matrix with a line per seed and a column per row; None if folds of a seed are missing.

    Raises:
        PlanError: two seeds evaluated different rows.
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
