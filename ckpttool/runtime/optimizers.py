"""Optimizers by name: a table of TensorFlow 1's, whose ops and slots a plain TensorFlow 1 program knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.call_syntax import Source
from ckpttool.errors import PlanError
from ckpttool.runtime.tensorflow import tensorflow
from ckpttool.selection import suggestion

Parameters = Mapping[str, float | bool]


@dataclass(frozen=True)
class Kind:
    """A row of the table: the parameters with their defaults, the rate first, and the maker of TensorFlow's object."""

    parameters: Parameters
    make: Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """An optimizer as it was asked for: its row of the table, the rate if one was given, the other parameters."""

    name: str
    rate: float | None
    parameters: Parameters

    @property
    def base_rate(self) -> float:
        """The rate that was given, else the table's."""
        return self.rate if self.rate is not None else OPTIMIZERS[self.name].parameters[RATE]


def _sgd(train: Any, rate: Any) -> Any:
    return train.GradientDescentOptimizer(rate)


def _momentum(train: Any, rate: Any, momentum: float) -> Any:
    return train.MomentumOptimizer(rate, momentum)


def _nesterov(train: Any, rate: Any, momentum: float) -> Any:
    return train.MomentumOptimizer(rate, momentum, use_nesterov=True)


def _adamw(train: Any, rate: Any, weight_decay: float, **adam: float) -> Any:
    return train.AdamOptimizer(rate, **adam)


_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
_FTRL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.1,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
}
RATE = "learning_rate"

OPTIMIZERS: dict[str, Kind] = {
    "sgd": Kind({RATE: 0.01}, _sgd),
    "momentum": Kind({RATE: 0.01, "momentum": 0.9}, _momentum),
    "nesterov": Kind({RATE: 0.01, "momentum": 0.9}, _nesterov),
    "adagrad": Kind(
        {RATE: 0.01, "initial_accumulator_value": 0.1},
        lambda train, rate, **parameters: train.AdagradOptimizer(rate, **parameters),
    ),
    "rmsprop": Kind(
        {RATE: 0.001, "decay": 0.9, "momentum": 0.0, "epsilon": 1e-10, "centered": False},
        lambda train, rate, **parameters: train.RMSPropOptimizer(rate, **parameters),
    ),
    "adam": Kind({RATE: 0.001, **_ADAM}, lambda train, rate, **parameters: train.AdamOptimizer(rate, **parameters)),
    "adamw": Kind({RATE: 0.001, "weight_decay": 0.01, **_ADAM}, _adamw),
    "ftrl": Kind({RATE: 0.01, **_FTRL}, lambda train, rate, **parameters: train.FtrlOptimizer(rate, **parameters)),
}
"""TensorFlow 1's optimizers, their parameters under its names and with its defaults; rates, where it has none, ours.

`nesterov` is momentum with Nesterov's look-ahead (Sutskever et al. 2013). `adamw` is Adam with decoupled weight decay
(Loshchilov and Hutter 2019), for tensors of rank 2 and more: each step takes `rate * weight_decay` of a weight away.
"""


def parse(text: str) -> Rule:
    """Read `momentum(0.01, momentum=0.9)`, `adam(1e-3, beta1=0.8)` or a plain `adam`.

    >>> parse("momentum(0.02)")
    Rule(name='momentum', rate=0.02, parameters={'momentum': 0.9})

    Raises:
        PlanError: it is no call, the table has no such optimizer, or a value cannot be.
        UnknownName: the optimizer has no such parameter.
    """
    source = Source(text if "(" in text else f"{text}()", "--optimizer", "an optimizer such as momentum(0.01)")
    nodes = [node for _, node in source.statements()]
    if len(nodes) != 1:
        raise PlanError(f"--optimizer {text!r}: expected one optimizer such as momentum(0.01, momentum=0.9)")
    call = source.call(nodes[0])
    require_known("optimizer", call.name, OPTIMIZERS)
    defaults = OPTIMIZERS[call.name].parameters
    given: dict[str, float | bool] = {}
    for name, node in source.bound(nodes[0], call, list(defaults)).items():
        given[name] = source.flag(node) if isinstance(defaults[name], bool) else source.number(node)
        _check(call.name, name, given[name])
    return Rule(call.name, given.get(RATE), {name: given.get(name, defaults[name]) for name in list(defaults)[1:]})


def require_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that a table lacks.

    Raises:
        PlanError: it lacks it; the message has all names, and the nearest.
    """
    known = list(known)
    if name not in known:
        raise PlanError(f"no {what} {name}; known: {', '.join(known)}{suggestion(name, known)}")


_BELOW_ONE = {"beta1", "beta2", "decay"}


def _check(optimizer: str, name: str, value: float) -> None:
    """Refuse a parameter with which nothing would be trained, or TensorFlow would divide by zero."""
    checks = (
        (name in {RATE, "initial_accumulator_value"}, value > 0, "a number above 0"),
        (name in _BELOW_ONE, 0 <= value < 1, "at least 0 and below 1"),
        (name == "momentum", 0 <= value <= 1, "between 0 and 1"),
        (name == "learning_rate_power", value <= 0, "a number not above 0"),
        (name in {"weight_decay", "epsilon"} or name.startswith("l"), value >= 0, "a number not below 0"),
    )
    for concerned, good, expected in checks[: 4 if name in {RATE, "learning_rate_power"} else None]:
        if concerned and not good:
            raise PlanError(f"--optimizer {optimizer}: {name} must be {expected}, found {value}")


def make(rule: Rule, rate: Any) -> Any:
    """Return TensorFlow's optimizer; `rate` is a number, a scalar tensor, or a callable that returns one."""
    return OPTIMIZERS[rule.name].make(tensorflow().compat.v1.train, rate, **rule.parameters)
