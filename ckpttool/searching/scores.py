"""Scores of features: the estimated performance of a linear head, in closed form, without training.

Two scores are computed from one eigendecomposition of the centred features. LogME is the logarithm of the evidence of a
linear model of the labels (You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning";
computed by the fixed point of MacKay 1992). The other is the prediction of ridge regression for each row when it is
fitted to all others, which follows exactly from the fit to all rows and the leverage (Allen 1974, PRESS statistic).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ckpttool.searching.targets import Targets

PENALTIES = 10.0 ** np.arange(-5.0, 2.5, 0.5)
"""The ridge penalties that are tried, relative to the features' mean variance times the number of rows."""
_TURNS, _SETTLED = 100, 1e-6
_NOTHING = 1e-10
"""Eigenvalues below this fraction of the largest are treated as zero."""
_LEAST, _EXACT = 1e-300, 1e-12
"""The least divisor, and the least residual relative to the targets' squares."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of features for labels: the evidence per row, and the leave-one-out score of each row.

    `right` is 1 or 0 for a class, the fraction of correct labels, or for amounts the explained variance.
    """

    logme: float
    right: Numbers
    penalty: float


def score(features: NDArray[np.float32], targets: Targets) -> Scores:
    """Return the scores of features, of shape [rows, features], for the targets of these rows.

    >>> from ckpttool.searching.targets import Classes
    >>> rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> good, bad = score(rows, Classes.of(rows[:, 0] > 0)), score(rows, Classes.of(np.arange(60) % 2))
    >>> good.logme > bad.logme, bool(good.right.mean() > 0.9 > 0.7 > bad.right.mean())
    (True, True)
    """
    spectrum = Spectrum.of(features)
    columns = targets.columns
    centred = columns - columns.mean(axis=0)
    left_out, penalty = spectrum.left_out(centred)
    return Scores(spectrum.evidence(centred), targets.right(left_out + columns.mean(axis=0)), penalty)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The left singular vectors of the centred features, and the squares of their singular values."""

    vectors: Numbers
    values: Numbers

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> "Spectrum":
        """Decompose the smaller of the features' two Gram matrices, that of the columns or that of the rows."""
        centred = features.astype(np.float64)
        centred -= centred.mean(axis=0)
        rows, width = centred.shape
        values, vectors = np.linalg.eigh(centred @ centred.T if rows < width else centred.T @ centred)
        kept = values > max(values[-1], 0.0) * max(rows, width) * _NOTHING
        values, vectors = values[kept], vectors[:, kept]
        return cls(vectors if rows < width else centred @ (vectors / np.sqrt(values)), values)

    def left_out(self, columns: Numbers) -> tuple[Numbers, float]:
        """Return the leave-one-out predictions of centred targets by ridge regression, with the best penalty.

        The best penalty has the least squared error. The intercept is not penalised: it adds 1 / rows to each leverage.
        """
        parts, rows = self.vectors.T @ columns, len(columns)
        scale = self.values.sum() / rows if len(self.values) else 1.0
        best, least, chosen = np.zeros_like(columns), np.inf, float(PENALTIES[-1])
        for penalty in PENALTIES:
            shrunk = self.values / (self.values + penalty * scale)
            leverage = self._squares @ shrunk + 1 / rows
            errors = (columns - self.vectors @ (shrunk[:, np.newaxis] * parts)) / (1 - leverage)[:, np.newaxis]
            error = float(np.square(errors).sum())
            if error < least:
                best, least, chosen = columns - errors, error, float(penalty)
        return best, chosen

    @cached_property
    def _squares(self) -> Numbers:
        squares: Numbers = np.square(self.vectors)
        return squares

    def evidence(self, columns: Numbers) -> float:
        """Return the logarithm of the evidence of centred targets, per row and column.

        The number of rows is reduced by one, since centring removes one dimension.
        """
        rows = len(columns) - 1
        parts = np.square(self.vectors.T @ columns)
        beyond = np.maximum(np.square(columns).sum(axis=0) - parts.sum(axis=0), 0.0)
        values, least = self.values[:, np.newaxis], np.maximum(_EXACT * np.square(columns).sum(axis=0), _LEAST)
        ratio = np.ones(columns.shape[1])  # ratio of the precisions of weights and noise
        for _ in range(_TURNS):
            degrees = (values / (values + ratio)).sum(axis=0)
            weights = (values * parts / np.square(values + ratio)).sum(axis=0)
            residual = (parts * np.square(ratio / (values + ratio))).sum(axis=0) + beyond
            alpha = degrees / np.maximum(weights, _LEAST)
            beta = (rows - degrees) / np.maximum(residual, least)
            before, ratio = ratio, alpha / beta
            if np.all(np.abs(ratio - before) <= _SETTLED * before):
                break
        spread = np.log1p(values / np.maximum(ratio, _LEAST)).sum(axis=0)
        logs = rows * np.log(beta / (2 * np.pi)) - spread - beta * residual - alpha * weights
        return float(logs.mean() / (2 * rows))
