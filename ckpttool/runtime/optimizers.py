"""Optimizers by name: a table of TensorFlow 1's, whose ops and slots a plain TensorFlow 1 program knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpttool.core.call_text import one_call
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow

Parameters = Mapping[str, float | bool]


@dataclass(frozen=True)
class Kind:
    """A row of the table: the parameters with their defaults, the rate first; TensorFlow's class, and what it gets."""

    parameters: Parameters
    tensorflow: str
    fixed: Parameters = field(default_factory=dict)


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


RATE = "learning_rate"
DECAY = "weight_decay"
_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
_RMSPROP = {"decay": 0.9, "momentum": 0.0, "epsilon": 1e-10, "centered": False}
_FTRL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.1,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
}

OPTIMIZERS: dict[str, Kind] = {
    "sgd": Kind({RATE: 0.01}, "GradientDescentOptimizer"),
    "momentum": Kind({RATE: 0.01, "momentum": 0.9}, "MomentumOptimizer"),
    "nesterov": Kind({RATE: 0.01, "momentum": 0.9}, "MomentumOptimizer", {"use_nesterov": True}),
    "adagrad": Kind({RATE: 0.01, "initial_accumulator_value": 0.1}, "AdagradOptimizer"),
    "rmsprop": Kind({RATE: 0.001, **_RMSPROP}, "RMSPropOptimizer"),
    "adam": Kind({RATE: 0.001, **_ADAM}, "AdamOptimizer"),
    "adamw": Kind({RATE: 0.001, DECAY: 0.01, **_ADAM}, "AdamOptimizer"),
    "ftrl": Kind({RATE: 0.01, **_FTRL}, "FtrlOptimizer"),
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
    source, node, call = one_call(text, "--optimizer", "optimizer", OPTIMIZERS, "momentum(0.01)")
    defaults = OPTIMIZERS[call.name].parameters
    given: dict[str, float | bool] = {}
    for name, said in source.bound(node, call, list(defaults)).items():
        given[name] = source.flag(said) if isinstance(defaults[name], bool) else source.number(said)
        _check(call.name, name, given[name])
    return Rule(call.name, given.get(RATE), {name: given.get(name, defaults[name]) for name in list(defaults)[1:]})


_Check = tuple[str, Callable[[float], bool]]
_ABOVE_ZERO: _Check = ("a number above 0", lambda value: value > 0)
_NOT_NEGATIVE: _Check = ("a number not below 0", lambda value: value >= 0)
_BELOW_ONE: _Check = ("at least 0 and below 1", lambda value: 0 <= value < 1)
_CHECKS: dict[str, _Check] = {
    RATE: _ABOVE_ZERO,
    "initial_accumulator_value": _ABOVE_ZERO,
    "beta1": _BELOW_ONE,
    "beta2": _BELOW_ONE,
    "decay": _BELOW_ONE,
    "momentum": ("between 0 and 1", lambda value: 0 <= value <= 1),
    "learning_rate_power": ("a number not above 0", lambda value: value <= 0),
}


def _check(optimizer: str, name: str, value: float) -> None:
    """Refuse a parameter with which nothing would be trained, or that TensorFlow would refuse."""
    expected, good = _CHECKS.get(name, _NOT_NEGATIVE)
    if not good(value):
        raise PlanError(f"--optimizer {optimizer}: {name} must be {expected}, found {value}")


def make(rule: Rule, rates: Mapping[str, Any], after: Callable[[], list[Any]] = list) -> Any:
    """Return TensorFlow's optimizer, with the rate of each variable by its name, scalar tensors.

    What `after` makes runs after the updates, and before the training op is done.
    """
    kind, parameters = OPTIMIZERS[rule.name], {**rule.parameters}
    decay = float(parameters.pop(DECAY, 0.0))
    tuned = _tuned(getattr(tensorflow().compat.v1.train, kind.tensorflow), rates, decay, after)
    return tuned(next(iter(rates.values()), 0.0), **parameters, **kind.fixed)


def _tuned(base: Any, rates: Mapping[str, Any], decay: float, after: Callable[[], list[Any]]) -> Any:
    """Return a subclass of an optimizer whose rate depends on the variable; one object keeps one set of Adam's powers.

    The methods are those that `tf.train.Optimizer` leaves to its subclasses.
    """
    tf1 = tensorflow().compat.v1

    class Tuned(base):  # type: ignore[misc]
        _rate_in_use = next(iter(rates.values()), None)

        def _updated(self, update: Callable[..., Any], gradient: Any, variable: Any, *more: Any) -> Any:
            rate = rates[variable.op.name]
            if rate is not self._rate_in_use:
                self._use(rate)
                self._prepare()
            if not decay or variable.shape.rank in (0, 1):
                return update(gradient, variable, *more)
            shrink = variable * tf1.cast(rate * decay, variable.dtype.base_dtype)  # of the weights before the update
            with tf1.control_dependencies([shrink]):
                updated = update(gradient, variable, *more)
            with tf1.control_dependencies([updated]):
                return variable.assign_sub(shrink, read_value=False)

        def _use(self, rate: Any) -> None:
            self._rate_in_use = self._lr = self._learning_rate = rate

        def _apply_dense(self, *arguments: Any) -> Any:
            return self._updated(super()._apply_dense, *arguments)

        def _resource_apply_dense(self, *arguments: Any) -> Any:
            return self._updated(super()._resource_apply_dense, *arguments)

        def _apply_sparse_duplicate_indices(self, *arguments: Any) -> Any:
            return self._updated(super()._apply_sparse_duplicate_indices, *arguments)

        def _resource_apply_sparse_duplicate_indices(self, *arguments: Any) -> Any:
            return self._updated(super()._resource_apply_sparse_duplicate_indices, *arguments)

        def _finish(self, update_ops: list[Any], name_scope: str) -> Any:
            with tf1.control_dependencies(update_ops):
                return super()._finish([*update_ops, *after()], name_scope)

    return Tuned
