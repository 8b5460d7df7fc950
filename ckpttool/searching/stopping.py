"""Detection of hopeless configurations: worse than the best so far by more than the rope, on the same rows.

This is tested after each block on which all remaining configurations were tried, and never between epochs: if
deeper layers are trained, learning starts more slowly. For scores of 0 and 1, the signed-rank test is the sign test,
which is exact; since it is repeated, its level is Pocock's. All rows evaluated with one seed share the effect of that
seed: if each block is a seed, a difference must also exceed the variation between seeds.
"""

from collections.abc import Mapping
from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.counts import counted
from ckpttool.searching.configurations import Block, Configuration, Design, Outcome, Outcomes

_BOUNDS = {
    **{1: 1.645, 2: 1.875, 3: 1.992, 4: 2.067, 5: 2.122, 6: 2.164, 7: 2.197, 8: 2.225, 9: 2.249, 10: 2.270},
    **{12: 2.304, 15: 2.344, 20: 2.392},
}
"""The bound that a normal variable exceeds by chance in 5 % of cases at any of a number of tests."""


_LEAST = 2
"""The degrees of freedom from which the variation between seeds is considered known."""


def hopeless(outcomes: Outcomes, design: Design, rope: float = 0.005) -> dict[Configuration, str]:
    """Return the configurations that need not be tried on more blocks, with the reason.

    Each is compared with the best of those that were evaluated on all of its blocks.

    >>> first = Block(seed=0, fold=0)
    >>> good, bad = Outcome(np.ones(100)), Outcome(np.repeat([1.0, 0.0], [80, 20]))
    >>> known = {Configuration(2, 1): {first: good}, Configuration(2, 2): {first: bad}}
    >>> hopeless(known, Design.of(labelled=500, seeds=1))
    {Configuration(keep=2, freeze=2): 'of 100 rows 20 worse and 0 better than keep 2, freeze 1'}
    """
    found: dict[Configuration, str] = {}
    share = level(len(design.blocks) - 1)
    spread = seeds_spread(outcomes) if design.kind == "rows" else 0.0
    if spread is None:
        return found
    for configuration, blocks in outcomes.items():
        judged = {block: outcome for block, outcome in blocks.items() if outcome.accuracy is not None}
        rivals = [each for each in outcomes if each != configuration and judged and _has(outcomes[each], judged)]
        if rivals:
            best = max(rivals, key=lambda each: (_mean(outcomes[each], judged), each))
            rows, worse, better = signs(judged, outcomes[best])
            lead = _mean(outcomes[best], judged) - _mean(judged, judged)
            of_seeds = NormalDist().inv_cdf(1 - share) * spread / sqrt(len(judged))
            if lead > rope + of_seeds and is_worse(rows, worse, better, rope, share):
                told = f"of {counted(rows, 'row')} {worse} worse and {better} better than {best}"
                found[configuration] = told
    return found


def _has(outcomes: Mapping[Block, Outcome], blocks: Mapping[Block, Outcome]) -> bool:
    return all(block in outcomes and outcomes[block].accuracy is not None for block in blocks)


def _mean(outcomes: Mapping[Block, Outcome], blocks: Mapping[Block, Outcome]) -> float:
    return float(np.mean([outcomes[block].accuracy or 0.0 for block in blocks]))


def seeds_spread(outcomes: Outcomes) -> float | None:
    """Return the standard deviation between seeds of differences between configurations; None if it is unknown.

    >>> of = lambda *shares: {Block(seed): Outcome(np.array([share])) for seed, share in enumerate(shares)}
    >>> known = {Configuration(3, k): of(*shares) for k, shares in enumerate([(0.9, 0.8), (0.9, 0.6), (0.8, 0.8)])}
    >>> round(seeds_spread(known), 3)
    0.153
    >>> seeds_spread({one: {Block(0): blocks[Block(0)]} for one, blocks in known.items()}) is None
    True

    Source: the pooled variance of configurations with several blocks, without the effect common to a block.
    """
    kept: dict[tuple[Block, ...], list[list[float]]] = {}
    for blocks in outcomes.values():
        accuracies = {block: outcome.accuracy for block, outcome in sorted(blocks.items())}
        known = {block: value for block, value in accuracies.items() if value is not None}
        kept.setdefault(tuple(known), []).append(list(known.values()))
    squares = degrees = 0.0
    for values in (np.array(group) for group in kept.values()):
        rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
        squares, degrees = squares + float((rest**2).sum()), degrees + (values.shape[0] - 1) * (values.shape[1] - 1)
    return sqrt(2 * squares / degrees) if degrees >= _LEAST else None


def signs(one: Mapping[Block, Outcome], other: Mapping[Block, Outcome]) -> tuple[int, int, int]:
    """Return the number of rows on which `one` was evaluated, and on which it was worse and better than `other`.

    A row that is evaluated with several seeds counts once, by the sum of its differences.

    >>> ours, theirs = {Block(0): Outcome(np.array([1.0, 0, 0]))}, {Block(0): Outcome(np.array([1.0, 1, 0]))}
    >>> signs(ours, theirs)
    (3, 1, 0)
    """
    numbers = [outcome.rows if outcome.rows is not None else _places(block, outcome) for block, outcome in one.items()]
    scores = [np.subtract(outcome.correct, other[block].correct, dtype=np.float64) for block, outcome in one.items()]
    rows, places = np.unique(np.concatenate(numbers), return_inverse=True)
    sums = np.bincount(places, np.concatenate(scores))
    return rows.size, int((sums < 0).sum()), int((sums > 0).sum())


def _places(block: Block, outcome: Outcome) -> NDArray[np.int64]:
    """Return numbers for rows without any: each fold has its own, which are the same for all seeds."""
    return np.arange(outcome.correct.size) + block.fold * outcome.correct.size


def is_worse(rows: int, worse: int, better: int, rope: float, level: float) -> bool:
    """Return whether the number of worse rows shows a difference beyond the rope, by a sign test of rows that differ.

    The null hypothesis is that the difference equals the rope: `rope * rows` more rows are worse than better.

    >>> is_worse(rows=400, worse=14, better=4, rope=0.0, level=0.0169)
    True
    >>> is_worse(rows=400, worse=14, better=4, rope=0.005, level=0.0169)
    False

    Source: Conover, Practical Nonparametric Statistics (1999), section 3.4, with the null hypothesis at the rope's end.
    """
    differ = worse + better
    share = min(0.5 + rope * rows / (2 * differ), 1.0) if differ else 1.0
    return tail(worse, differ, share) <= level


def tail(successes: int, trials: int, share: float) -> float:
    """Return the probability of at least a number of successes.

    >>> round(tail(9, 10, 0.5), 6)
    0.010742

    Source: the binomial distribution, summed.
    """
    if successes <= 0 or share >= 1:
        return 1.0
    ways = (lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1) for k in range(successes, trials + 1))
    odds, none = log(share) - log1p(-share), trials * log1p(-share)
    return min(sum(exp(way + k * odds + none) for k, way in enumerate(ways, start=successes)), 1.0)


def level(looks: int) -> float:
    """Return the level of each of a number of tests such that any of them errs in 5 % of cases.

    >>> round(level(1), 3), round(level(4), 4)
    (0.05, 0.0194)

    Source: Pocock, Group sequential methods in the design and analysis of clinical trials (1977); the bounds are those
    of Jennison and Turnbull, Group Sequential Methods (1999), table 2.1. For more than 20 looks: Bonferroni's.
    """
    bound = next((value for most, value in _BOUNDS.items() if looks <= most), None)
    return 0.05 / looks if bound is None else 1 - NormalDist().cdf(bound)
