"""Schedules of the learning rate: factors of the base rate, computed in the graph from the global step.

If a schedule's `steps` are specified, t is the global step itself, so that it continues where an earlier run stopped.
Otherwise s is the length of the run without its warm-up, and t is counted from the end of the warm-up.
"""

from dataclasses import dataclass, replace
from math import pi
from typing import Any

from ckpttool.core.calls import Call, above_zero, from_to, require, written_value
from ckpttool.core.errors import PlanError
from ckpttool.core.variable_kinds import RATE_FACTOR
from ckpttool.runtime.configure import tensorflow

RATE = "learning_rate/rate:0"
"""The current base rate, a float32 scalar, in every graph with a training op of ours."""
FACTOR = RATE_FACTOR
"""The variable of `performance`: the product of the factors so far, which the run updates."""


@dataclass(frozen=True)
class RunSteps:
    """The steps of a run, for schedules as long as the run: the first step, and their number (None: unknown)."""

    begin: int = 0
    total: int | None = None


UNKNOWN_STEPS = RunSteps()


@dataclass(frozen=True)
class Schedule(Call):
    """A factor of the base rate at step t; s is `steps`.

    >>> Schedule.read("power(100)", "`schedule`")
    Power(steps=100.0, c=1.0)
    """

    noun, example = "schedule", "exponential(0.1, 1000)"

    def at(self, position: Any) -> Any:
        """Return the factor at a step, both float32 scalars of the graph; None if it is always 1."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step."""

    name = "constant"

    def at(self, position: Any) -> None:
        """Return None: the rate does not change."""


@dataclass(frozen=True)
class Piecewise(Schedule):
    """A factor for each interval between `steps`.

    `piecewise([1000, 2000], [1, 0.1, 0.01])`: the first factor up to step 1000, the second up to 2000, then the third.
    """

    name = "piecewise"
    steps: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that the steps increase, and that there is one more factor than steps."""
        steps, factors = self.steps, self.factors
        if not steps or list(steps) != sorted(set(steps)) or steps[0] <= 0:
            raise PlanError(f"expected steps that grow, such as [1000, 2000], found {written_value(list(steps))}")
        if len(factors) != len(steps) + 1 or min(factors) <= 0:
            expected = f"{len(steps) + 1} factors above 0, one for each piece between {len(steps)} steps"
            raise PlanError(f"expected {expected}, found {written_value(list(factors))}")

    def at(self, position: Any) -> Any:
        """Return the factor of the piece."""
        tf = tensorflow()
        return tf.gather(tf.constant(self.factors), tf.math.count_nonzero(position > tf.constant(self.steps)))


@dataclass(frozen=True)
class Performance(Schedule):
    """The rate is multiplied by `factor` after each `patience` epochs without improvement."""

    name = "performance"
    factor: float = 0.5
    patience: int = 3

    def __post_init__(self) -> None:
        """Check the parameters."""
        require("factor", self.factor, 0 < self.factor < 1, "above 0 and below 1")
        above_zero("patience", self.patience, "a whole number")

    def at(self, position: Any) -> Any:
        """Return a variable, `FACTOR`: 1 until the run changes it."""
        tf = tensorflow()
        return tf.compat.v1.Variable(1.0, trainable=False, name=FACTOR.rpartition("/")[2], dtype=tf.float32)


class Decay(Schedule):
    """A schedule that lasts for some steps; None is the whole run."""

    steps: float | None

    def __post_init__(self) -> None:
        """Check the steps."""
        above_zero("steps", self.steps)


@dataclass(frozen=True)
class Exponential(Decay):
    """Exponential decay: rate^(t/s)."""

    name = "exponential"
    rate: float = 0.1
    steps: float | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        above_zero("rate", self.rate)

    def at(self, position: Any) -> Any:
        """Return the factor."""
        return self.rate ** (position / self.steps)


@dataclass(frozen=True)
class Power(Decay):
    """Power decay: (1 + t/s)^-c."""

    name = "power"
    steps: float | None = None
    c: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        above_zero("c", self.c)

    def at(self, position: Any) -> Any:
        """Return the factor."""
        return (1 + position / self.steps) ** -self.c


@dataclass(frozen=True)
class Polynomial(Decay):
    """Polynomial decay from 1 to `end`: (1 - t/s)^power."""

    name = "polynomial"
    steps: float | None = None
    power: float = 1.0
    end: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        above_zero("power", self.power)
        from_to("end", self.end, 0, 1)

    def at(self, position: Any) -> Any:
        """Return the factor."""
        left = 1 - tensorflow().minimum(position / self.steps, 1.0)
        return (1 - self.end) * left**self.power + self.end


@dataclass(frozen=True)
class Cosine(Decay):
    """Cosine decay from 1 to `end` (Loshchilov and Hutter 2017)."""

    name = "cosine"
    steps: float | None = None
    end: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        from_to("end", self.end, 0, 1)

    def at(self, position: Any) -> Any:
        """Return the factor."""
        tf = tensorflow()
        return (1 - self.end) * 0.5 * (1 + tf.cos(pi * tf.minimum(position / self.steps, 1.0))) + self.end


def present_factor(schedule: Schedule, warmup: int, step: Any, run: RunSteps) -> Any:
    """Return the factor of the base rate at a step, a float32 scalar of the graph; None if it is always 1.

    The factor of a warm-up increases linearly from `1 / warmup` at the run's first step to 1.

    Raises:
        PlanError: the schedule is as long as the run, and the length of the run is unknown.
    """
    tf = tensorflow()
    begin = 0
    if isinstance(schedule, Decay) and schedule.steps is None:
        if run.total is None:
            example = f"{schedule.name}(steps=1000)"
            raise PlanError(
                f"`schedule` {schedule.name}: the length of the run is not known here, specify it: {example}"
            )
        begin, steps = run.begin + warmup, float(max(1, run.total - warmup))
        schedule = replace(schedule, steps=steps)  # type: ignore[call-arg]  # a field of each subclass
    factor = schedule.at(_since(tf, step, begin))
    if not warmup:
        return factor
    grown = tf.minimum((_since(tf, step, run.begin) + 1) / warmup, 1.0)
    return grown if factor is None else grown * factor


def _since(tf: Any, step: Any, begin: int) -> Any:
    """Return the number of steps since another step, as float32; 0 before it."""
    return tf.cast(tf.maximum(step - begin, 0), tf.float32)
