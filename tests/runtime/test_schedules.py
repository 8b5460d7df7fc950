"""Schedules, value by value, compared with Keras's and TensorFlow 1's own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.runtime.schedules import RunSteps, Schedule, present_factor

STEPS = [0, 1, 7, 49, 50, 51, 99, 100, 250]


RUN = RunSteps(0, 100)


def factors(text: str, warmup: int = 0, span: RunSteps = RUN, steps: Sequence[int] = STEPS) -> list[float]:
    """Return the factors computed by a graph at some steps."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.placeholder("int64", [])
        factor = present_factor(Schedule.read(text, "`schedule`"), warmup, step, span)
        session.run(tf.compat.v1.global_variables_initializer())
        return [1.0 if factor is None else float(session.run(factor, {step: number})) for number in steps]


def keras(name: str, *arguments: Any, **more: Any) -> list[float]:
    """Return the values of a Keras schedule at the same steps."""
    import tensorflow as tf

    schedule = getattr(tf.keras.optimizers.schedules, name)(*arguments, **more)
    return [float(schedule(step)) for step in STEPS]


ONES = [1.0] * len(STEPS)
REFERENCES: dict[str, tuple[str, Callable[[], list[float]]]] = {
    "constant": ("constant", lambda: ONES),
    "performance": ("performance(factor=0.1, patience=2)", lambda: ONES),
    "piecewise": (
        "piecewise([50, 99], [1, 0.5, 0.1])",
        lambda: keras("PiecewiseConstantDecay", [50, 99], [1.0, 0.5, 0.1]),
    ),
    "exponential": ("exponential(0.1, 50)", lambda: keras("ExponentialDecay", 1.0, 50, 0.1)),
    "power": ("power(50)", lambda: keras("InverseTimeDecay", 1.0, 50, 1.0)),
    "polynomial": (
        "polynomial(100, power=2, end=0.1)",
        lambda: keras("PolynomialDecay", 1.0, 100, 0.1, power=2.0),
    ),
    "cosine": ("cosine(100, end=0.1)", lambda: keras("CosineDecay", 1.0, 100, alpha=0.1)),
}


def test_every_schedule_of_the_table_has_a_referee() -> None:
    assert REFERENCES.keys() == Schedule.known().keys()


@pytest.mark.parametrize("name", Schedule.known())
def test_a_schedule_is_that_of_keras(name: str) -> None:
    text, reference = REFERENCES[name]
    np.testing.assert_allclose(factors(text), reference(), rtol=2e-6, atol=1e-7)


def test_the_exponent_of_a_power_is_the_chapters() -> None:
    np.testing.assert_allclose(factors("power(50, c=2)"), [(1 + step / 50) ** -2 for step in STEPS], rtol=1e-6)


def test_without_steps_a_schedule_is_as_long_as_the_run() -> None:
    later = [1000 + step for step in STEPS]
    assert factors("cosine", span=RunSteps(1000, 100), steps=later) == factors("cosine(100)")
    assert factors("exponential(0.5)", span=RunSteps(1000, 100), steps=[1000, 1100]) == [1.0, 0.5]


def test_steps_that_are_said_go_on_from_an_earlier_run() -> None:
    assert factors("exponential(0.5, 100)", span=RunSteps(100, 100), steps=[100, 200]) == [0.5, 0.25]


def test_a_warm_up_comes_before_any() -> None:
    """Keras warms up to the rate, and decays over the remaining steps."""
    expected = keras("CosineDecay", 0.0, 80, warmup_target=1.0, warmup_steps=20)
    np.testing.assert_allclose(factors("cosine", warmup=20)[3:], expected[3:], atol=1e-6)
    assert factors("constant", warmup=4, span=RunSteps(10, 100), steps=[10, 11, 13, 14, 99]) == [0.25, 0.5, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ("cosin", UnknownName, "no schedule cosin; known: constant, .*; nearest: cosine"),
        ("cosine(0)", PlanError, "`schedule` cosine: steps must be a number above 0, found 0"),
        ("cosine(step=3)", UnknownName, "cosine has no argument 'step'; nearest: steps"),
        ("cosine(100, 2)", PlanError, "`schedule` cosine: end must be a number from 0 to 1, found 2"),
        ("performance(2)", PlanError, "factor must be above 0 and below 1, found 2"),
        ("performance(0.5, 1.5)", PlanError, "at '1.5': expected a whole number"),
        ("piecewise", PlanError, r"expected steps that grow, such as \[1000, 2000\], found \[\]"),
        ("piecewise([2, 1], [1, 1, 1])", PlanError, "expected steps that grow"),
        ("piecewise([2], [1])", PlanError, r"expected 2 factors above 0, one for each piece .*, found \[1\]"),
        ("piecewise(2, [1])", PlanError, "`schedule`, line 1, .* expected a list of numbers such as"),
        ("cosine(2); cosine(3)", PlanError, "expected one schedule"),
        ("cosine((", PlanError, "`schedule`, line 1"),
        ("", PlanError, "`schedule`, line 1"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, error: type, problem: str) -> None:
    with pytest.raises(error, match=problem):
        Schedule.read(text, "`schedule`")
