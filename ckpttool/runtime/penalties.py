"""Penalties on weights: l1, l2 and max-norm, for kernels only, which are tensors of rank 2 and more."""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.core.by_pattern import ByPattern
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow

MAX_NORM = "ckpttool/max_norm"
"""The collection of the bounds that the layers were made with: strings such as `hidden1/kernel=1.0`."""

PENALTIES = {
    "--l1": lambda tf, weights: tf.reduce_sum(tf.abs(weights)),
    "--l2": lambda tf, weights: tf.nn.l2_loss(weights),
}
"""What a scale is multiplied with: sum(|w|), and sum(w^2) / 2, as in `tf.contrib.layers`, chapter 11.4."""


def penalties(said: Mapping[str, ByPattern[float] | None], trained: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return a scalar for each trained kernel that a penalty takes; `said` has the scales by option.

    `names` are those of all weights: a pattern may take one that is not trained.

    Raises:
        UnknownName: a pattern takes nothing.
        PlanError: a pattern takes vectors alone.
    """
    tf = tensorflow()
    found = []
    for option, scales in said.items():
        for variable, scale in of_kernels(option, scales, trained, names):
            found.append(tf.cast(scale, variable.dtype.base_dtype) * PENALTIES[option](tf, variable))
    return found


def max_norms(said: ByPattern[float] | None, trained: Sequence[Any], names: Sequence[str]) -> list[tuple[Any, float]]:
    """Return the trained kernels with a bound on their norms: the option's, else the one the layer was made with.

    Raises:
        UnknownName: a pattern takes nothing.
        PlanError: a pattern takes vectors alone.
    """
    bounds = _made_with() | {
        variable.op.name: bound for variable, bound in of_kernels("--max-norm", said, trained, names, zeros=True)
    }
    return [(variable, bounds[variable.op.name]) for variable in trained if bounds.get(variable.op.name)]


def of_kernels(
    option: str, said: ByPattern[float] | None, trained: Sequence[Any], names: Sequence[str], zeros: bool = False
) -> list[tuple[Any, float]]:
    """Return the trained kernels with what an option says of them; 0 says that it leaves them alone."""
    if said is None:
        return []
    kernels = {variable.op.name: variable for variable in trained if variable.shape.rank != 1 and variable.shape.rank}
    _refuse_vectors(option, said, [variable.op.name for variable in trained], kernels)
    values = said.of(names)
    return [(kernels[name], values[name]) for name in kernels if (zeros and name in values) or values.get(name)]


def _refuse_vectors(option: str, said: ByPattern[float], trained: Sequence[str], kernels: Mapping[str, Any]) -> None:
    for pattern, value in said.pairs:
        taken = [name for name in trained if pattern is not None and pattern.matches(name)]
        if taken and pattern is not None and not any(name in kernels for name in taken):
            found = ", ".join(taken)
            raise PlanError(f"{option} '{pattern.text}={value}': expected a kernel, of rank 2 or more, found {found}")


def bounded(variable: Any, bound: float) -> Any:
    """Return an op that scales the vectors of a kernel that are longer than a bound down to it.

    Those of a kernel `[inputs, outputs]` are its rows, as in chapter 11.4.4 (`clip_by_norm(weights, bound, axes=1)`),
    those of a convolution's its filters: everything but the last axis.
    """
    tf = tensorflow()
    weights = variable.read_value()
    axes = [1] if variable.shape.rank == 2 else list(range(variable.shape.rank - 1))
    norms = tf.sqrt(tf.reduce_sum(tf.square(weights), axes, keepdims=True))
    return variable.assign(weights * (bound / tf.maximum(norms, bound)), read_value=False)


def _made_with() -> dict[str, float]:
    """Return the bounds that the graph's collection says, by the variable's name."""
    entries = tensorflow().compat.v1.get_collection(MAX_NORM)
    pairs = ((entry.decode() if isinstance(entry, bytes) else entry).rpartition("=") for entry in entries)
    try:
        return {name: float(bound) for name, _, bound in pairs}
    except ValueError as error:
        raise PlanError(f"collection {MAX_NORM}: expected NAME=NUMBER: {error}") from error
