"""The quick answer: the estimated accuracy of a linear head on each depth of a frozen network, without training.

This answers only one part of the question: scores of frozen features cannot predict the effect of training layers.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ckpttool.executors import machine
from ckpttool.searching.blas import one_thread
from ckpttool.searching.features import Features
from ckpttool.searching.scores import Numbers, Scores, score
from ckpttool.searching.targets import Amounts, Targets

NORMAL = 1.959964
"""The number of standard deviations around its mean that contain a normal variable in 95 % of cases."""
RESAMPLES = 1000
"""The number of bootstrap samples for an interval."""
MOST_THREADS = 4
"""The largest number of depths scored in parallel: each needs copies of its features."""
HALVES = 200
"""The number of random divisions of the rows: a depth is chosen on one half and evaluated on the other."""


@dataclass(frozen=True, eq=False)
class ScoredDepth:
    """A depth with its scores; `tied` if its difference to the best may be chance."""

    features: Features
    scores: Scores
    expected: float
    interval: tuple[float, float]
    rank: int
    tied: bool

    def as_json(self) -> dict[str, Any]:
        """Return the scores as JSON values."""
        depth = self.features.depth
        return {
            "depth": depth.number,
            "layers": list(depth.layers),
            "tensor": depth.tensor,
            "shape": list(self.features.shape),
            "width": self.features.width,
            "pooled": self.features.pooled,
            "folded": self.features.folded,
            "logme": self.scores.logme,
            "expected": self.expected,
            "interval": list(self.interval),
            "penalty": self.scores.penalty,
            "rank": self.rank,
            "tied": self.tied,
        }


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scored depths in order, the best, and an unbiased estimate of its accuracy (`chosen`)."""

    depths: tuple[ScoredDepth, ...]
    best: ScoredDepth
    chosen: float

    @property
    def in_order(self) -> list[ScoredDepth]:
        """The depths from the best to the worst."""
        return sorted(self.depths, key=lambda each: each.rank)


def ranking(features: Sequence[Features], targets: Targets, seed: int) -> Ranking:
    """Score features of the same rows, and rank them by leave-one-out accuracy.

    The accuracy of the best depth is optimistic, since it is the maximum of several. `chosen` is therefore the mean
    accuracy on one half of the rows of the depth that is best on the other half, over many divisions.
    """
    with one_thread(), ThreadPoolExecutor(min(machine.cores(), MOST_THREADS)) as pool:
        scores = list(pool.map(lambda each: score(each.vectors, targets), features))
    right = np.stack([each.right for each in scores])
    expected = right.mean(axis=1)
    order = sorted(range(len(scores)), key=lambda place: (-round(float(expected[place]), 12), -scores[place].logme))
    random = np.random.Generator(np.random.PCG64(seed))
    is_amount = isinstance(targets, Amounts)
    scored = tuple(
        ScoredDepth(
            features[place],
            scores[place],
            float(expected[place]),
            resampled(right[place], random) if is_amount else wilson(float(expected[place]), right.shape[1]),
            order.index(place) + 1,
            _is_tied(right[order[0]] - right[place]),
        )
        for place in range(len(scores))
    )
    return Ranking(scored, scored[order[0]], _of_halves(right, random))


def wilson(share: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction of rows (Wilson 1927); means of scores between 0 and 1 vary less.

    >>> [round(end, 3) for end in wilson(0.9, 100)], [round(end, 3) for end in wilson(1.0, 20)]
    ([0.826, 0.945], [0.839, 1.0])
    """
    square = NORMAL**2 / rows
    middle = (share + square / 2) / (1 + square)
    half = NORMAL * sqrt(share * (1 - share) / rows + square / (4 * rows)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def resampled(values: Numbers, random: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean."""
    drawn = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high


def _is_tied(lead: Numbers) -> bool:
    """Return whether a lead, given by row, may be chance: at most two standard errors."""
    return float(lead.mean()) <= NORMAL * float(lead.std()) / sqrt(len(lead))


def _of_halves(right: Numbers, random: np.random.Generator) -> float:
    """Return the mean accuracy on one half of the rows of the depth that is best on the other; NaN for one row."""
    rows = right.shape[1]
    found = []
    for _ in range(HALVES if rows > 1 else 0):
        order = random.permutation(rows)
        chosen = right[:, order[: rows // 2]].mean(axis=1).argmax()
        found.append(right[chosen, order[rows // 2 :]].mean())
    return float(np.mean(found)) if found else float("nan")
