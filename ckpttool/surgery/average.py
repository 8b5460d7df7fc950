"""The average of checkpoints of one model: the mean, a weighted mean, or an exponential moving average.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Izmailov et al. 2018, "Averaging
Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407.
"""

from collections.abc import Sequence

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.surgery.merging.agreement import JoinedCheckpoints, join, with_plan_step
from ckpttool.surgery.merging.linear import mean
from ckpttool.surgery.merging.method import shares


def average(
    checkpoints: Sequence[Checkpoint],
    weights: Sequence[float] | None = None,
    decay: float | None = None,
    lenient: bool = False,
) -> Checkpoint:
    """Return the average of checkpoints, computed lazily; see `plan_average` for the options and errors.

    >>> import numpy as np
    >>> a, b = (Checkpoint.of({"fc/bias": np.array([n, 2.0]), "global_step": np.array(n)}) for n in (1, 3))
    >>> {name: tensor.read().tolist() for name, tensor in average([a, b]).items()}
    {'fc/bias': [2.0, 2.0], 'global_step': 3}
    """
    return plan_average(checkpoints, weights, decay, lenient).tensors


def plan_average(
    checkpoints: Sequence[Checkpoint],
    weights: Sequence[float] | None = None,
    decay: float | None = None,
    lenient: bool = False,
) -> JoinedCheckpoints:
    """Plan the mean of checkpoints' weights: equal, weighted by `weights`, or exponential with a `decay`.

    With a decay d, the average starts as the first checkpoint, and each next one updates it to d * average +
    (1 - d) * next. Sums are computed in float64; the dtype is kept. Other tensors are the last checkpoint's (`join`).

    Raises:
        PlanError: weights differ in shape or dtype, or `weights` or `decay` is invalid.
    """
    own = None if weights is None else [float(each) for each in weights]
    options = {"weights": own, "decay": decay, "lenient": lenient}
    if weights is not None and decay is not None:
        raise PlanError("`weights` and `decay` exclude one another: specify one of them")
    if decay is not None:
        weights = _decayed(decay, len(checkpoints))
    parts = shares(weights, len(checkpoints)) if checkpoints else ()
    joined = join(checkpoints, lambda tensors: mean(tensors, parts), "averaged", lenient)
    return with_plan_step(joined, "average", checkpoints, options)


def _decayed(decay: float, count: int) -> tuple[float, ...]:
    """Return the final weights of `count` checkpoints in an exponential moving average.

    >>> _decayed(0.5, 3)
    (0.25, 0.25, 0.5)
    """
    if not 0 <= decay < 1:
        raise PlanError(f"`decay` {decay:g}: expected 0 or more, and less than 1")
    return (decay ** (count - 1), *((1 - decay) * decay ** (count - 1 - n) for n in range(1, count)))
