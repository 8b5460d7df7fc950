"""Schedules of the learning rate by name: factors on the base rate, computed in the graph from the global step."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, pi
from typing import Any

from ckpttool.core.call_text import CallText, one_call
from ckpttool.core.errors import PlanError
from ckpttool.core.variable_kinds import RATE_FACTOR
from ckpttool.runtime.configure import tensorflow

RATE = "learning_rate/rate:0"
"""The present base rate, a float32 scalar, in every graph with a training op of ours."""
FACTOR = RATE_FACTOR
"""The variable of `performance`: the product of the factors so far. It is for the run to change."""

Value = float | tuple[float, ...] | None


@dataclass(frozen=True)
class Span:
    """The steps of a run, for what is as long as the run: the first one's number, and how many (None: not known)."""

    begin: int = 0
    total: int | None = None


NO_SPAN = Span()


@dataclass(frozen=True)
class Schedule:
    """A schedule as it was asked for: its row of the table, and its parameters; `steps` None is the whole run."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Plateau:
    """Multiply the rate by `factor` when `patience` epochs went by without a better one."""

    factor: float
    patience: int


def _piecewise(tf: Any, position: Any, steps: Any, factors: Any) -> Any:
    return tf.gather(tf.constant(factors), tf.math.count_nonzero(position > tf.constant(steps)))


def _polynomial(tf: Any, position: Any, steps: float, power: float, end: float) -> Any:
    return (1 - end) * (1 - tf.minimum(position / steps, 1.0)) ** power + end


def _cosine(tf: Any, position: Any, steps: float, end: float) -> Any:
    return (1 - end) * 0.5 * (1 + tf.cos(pi * tf.minimum(position / steps, 1.0))) + end


def _performance(tf: Any, position: Any, factor: float, patience: float) -> Any:
    return tf.compat.v1.Variable(1.0, trainable=False, name=FACTOR.rpartition("/")[2], dtype=tf.float32)


@dataclass(frozen=True)
class Kind:
    """A row of the table: the parameters with their defaults, and the factor at a position, a float32 scalar."""

    parameters: Mapping[str, Value]
    factor: Callable[..., Any]


SCHEDULES: dict[str, Kind] = {
    "constant": Kind({}, lambda tf, position: None),
    "piecewise": Kind({"steps": (), "factors": ()}, _piecewise),
    "performance": Kind({"factor": 0.5, "patience": 3}, _performance),
    "exponential": Kind({"rate": 0.1, "steps": None}, lambda tf, position, rate, steps: rate ** (position / steps)),
    "power": Kind({"steps": None, "c": 1.0}, lambda tf, position, steps, c: (1 + position / steps) ** -c),
    "polynomial": Kind({"steps": None, "power": 1.0, "end": 0.0}, _polynomial),
    "cosine": Kind({"steps": None, "end": 0.0}, _cosine),
}
"""What the base rate is multiplied with at a step t; `steps` s.

`piecewise([1000, 2000], [1, 0.1, 0.01])`: the first factor up to step 1000, the second up to 2000, then the third.
`performance`: 1, times `factor` whenever an epoch count of `patience` brought no better one. `exponential`: rate^(t/s).
`power`: (1 + t/s)^-c. `polynomial`: from 1 to `end` by (1 - t/s)^power. `cosine`: from 1 to `end` by half a cosine
(Loshchilov and Hutter 2017). The first five are those of chapter 11.3.

Where `steps` is given t is the global step itself, so that a schedule goes on where an earlier run stopped. Where it is
not, s is the whole run without its warm-up, and t is counted from there.
"""


def parse(text: str) -> Schedule:
    """Read `cosine`, `exponential(0.1, 1000)` or `piecewise([1000], [1, 0.1])`.

    >>> parse("power(100)")
    Schedule(name='power', parameters={'steps': 100, 'c': 1.0})

    Raises:
        PlanError: it is no call, the table has no such schedule, or a value cannot be.
        UnknownName: the schedule has no such parameter.
    """
    source, node, call = one_call(text, "--schedule", "schedule", SCHEDULES, "exponential(0.1, 1000)")
    defaults = SCHEDULES[call.name].parameters
    given = source.bound(node, call, list(defaults))
    read = {name: _read(source, said, defaults[name]) for name, said in given.items()}
    schedule = Schedule(call.name, {**defaults, **read})
    _check(schedule)
    return schedule


def _read(source: CallText, node: ast.expr, default: Value) -> Value:
    return tuple(source.numbers(node)) if isinstance(default, tuple) else source.number(node)


_ABOVE_ZERO = ("a number above 0", lambda value: 0 < value < inf)
_SHARE = ("between 0 and 1", lambda value: 0 <= value <= 1)
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "steps": _ABOVE_ZERO,
    "rate": _ABOVE_ZERO,
    "c": _ABOVE_ZERO,
    "power": _ABOVE_ZERO,
    "end": _SHARE,
    "factor": ("above 0 and below 1", lambda value: 0 < value < 1),
    "patience": ("a whole number above 0", lambda value: value == int(value) and value > 0),
}


def _check(schedule: Schedule) -> None:
    """Refuse a parameter that makes no schedule."""
    if schedule.name == "piecewise":
        _check_pieces(**schedule.parameters)
        return
    for name, value in schedule.parameters.items():
        expected, good = _CHECKS[name]
        if value is not None and not good(value):
            raise PlanError(f"--schedule {schedule.name}: {name} must be {expected}, found {value}")


def _check_pieces(steps: Any, factors: Any) -> None:
    if not steps or list(steps) != sorted(set(steps)) or steps[0] <= 0:
        raise PlanError(f"--schedule piecewise: expected steps that grow, such as [1000, 2000], found {list(steps)}")
    if len(factors) != len(steps) + 1 or min(factors) <= 0:
        expected = f"{len(steps) + 1} factors above 0, one for each piece between {len(steps)} steps"
        raise PlanError(f"--schedule piecewise: expected {expected}, found {list(factors)}")


def present_factor(schedule: Schedule, warmup: int, step: Any, span: Span) -> Any:
    """Return the factor on the base rate at a step, a float32 scalar of the graph; None where it is always 1.

    The factor of a warm-up grows linearly from `1 / warmup` at the run's first step to 1.

    Raises:
        PlanError: the schedule is as long as the run, and nobody knows how long that is.
    """
    tf, parameters = tensorflow(), dict(schedule.parameters)
    begin = 0
    if "steps" in parameters and parameters["steps"] is None:
        begin, parameters["steps"] = span.begin + warmup, _length(schedule, warmup, span)
    parameters = {name: _as_floats(value) for name, value in parameters.items()}
    factor = SCHEDULES[schedule.name].factor(tf, _since(tf, step, begin), **parameters)
    if not warmup:
        return factor
    grown = tf.minimum((_since(tf, step, span.begin) + 1) / warmup, 1.0)
    return grown if factor is None else grown * factor


def _length(schedule: Schedule, warmup: int, span: Span) -> int:
    if span.total is None:
        example = f"{schedule.name}(steps=1000)"
        raise PlanError(f"--schedule {schedule.name}: how long a run will be is not known here; say it: {example}")
    return max(1, span.total - warmup)


def _as_floats(value: Any) -> Any:
    return tuple(map(float, value)) if isinstance(value, tuple) else float(value)


def _since(tf: Any, step: Any, begin: int) -> Any:
    """Return how many steps went by since another, as float32; 0 before it."""
    return tf.cast(tf.maximum(step - begin, 0), tf.float32)
