"""Optimizers: those of TensorFlow 1, whose ops and slots any TensorFlow 1 program can use.

Parameters have TensorFlow's names and defaults; if it has no default learning rate, ours is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ckpttool.core.calls import Call, above_zero, below_one, from_to, not_negative, require
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.private import with_rate_per_variable


@dataclass(frozen=True)
class Optimizer(Call):
    """An optimizer: `base` is TensorFlow's class, with these fields as arguments; `usual_rate` is the default rate.

    >>> Optimizer.read("momentum(0.02)", "`optimizer`")
    Momentum(learning_rate=0.02, momentum=0.9)
    """

    noun, example = "optimizer", "momentum(0.01)"
    base: ClassVar[str]
    usual_rate: ClassVar[float] = 0.01
    slots: ClassVar[tuple[str, ...]] = ()
    """TensorFlow's names of a variable's slots, below its own name: `hidden1/kernel/Momentum`."""

    learning_rate: float | None = None

    def __post_init__(self) -> None:
        """Reject parameters with which nothing would be trained, or that TensorFlow would reject."""
        above_zero("learning_rate", self.learning_rate)

    @classmethod
    def describe(cls) -> tuple[str, str]:
        """Return the call with its parameters, including the default rate, and the first sentence of the docstring."""
        call, summary = super().describe()
        return call.replace("learning_rate=None", f"learning_rate={cls.usual_rate}"), summary

    @property
    def base_rate(self) -> float:
        """The specified rate, else the default."""
        return self.usual_rate if self.learning_rate is None else self.learning_rate

    def arguments(self) -> dict[str, Any]:
        """Return what TensorFlow's class takes besides the rate."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "learning_rate"}

    def make(self, rates: Mapping[str, Any], after: Callable[[], list[Any]] = list) -> Any:
        """Return TensorFlow's optimizer with a rate for each variable, a scalar tensor by name.

        The ops returned by `after` run after the updates, and before the training op is complete.
        """
        arguments = self.arguments()
        decay = arguments.pop("weight_decay", 0.0)
        base = getattr(tensorflow().compat.v1.train, self.base)
        return with_rate_per_variable(base, rates, decay, after)(next(iter(rates.values()), 0.0), **arguments)


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """Plain stochastic gradient descent."""

    name, base = "sgd", "GradientDescentOptimizer"


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Momentum (Polyak 1964)."""

    name, base, slots = "momentum", "MomentumOptimizer", ("Momentum",)
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        from_to("momentum", self.momentum, 0, 1)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum with Nesterov's look-ahead (Sutskever et al. 2013)."""

    name = "nesterov"

    def arguments(self) -> dict[str, Any]:
        """Return what TensorFlow's class takes besides the rate."""
        return {**super().arguments(), "use_nesterov": True}


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011)."""

    name, base, slots = "adagrad", "AdagradOptimizer", ("Adagrad",)
    initial_accumulator_value: float = 0.1

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        above_zero("initial_accumulator_value", self.initial_accumulator_value)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """RMSProp (Tieleman and Hinton 2012)."""

    name, base, usual_rate = "rmsprop", "RMSPropOptimizer", 0.001
    slots = ("RMSProp", "RMSProp_1")  # and RMSProp_2 if it is centered
    decay: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-10
    centered: bool = False

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        below_one("decay", self.decay)
        from_to("momentum", self.momentum, 0, 1)
        not_negative("epsilon", self.epsilon)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015)."""

    name, base, usual_rate, slots = "adam", "AdamOptimizer", 0.001, ("Adam", "Adam_1")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        below_one("beta1", self.beta1)
        below_one("beta2", self.beta2)
        not_negative("epsilon", self.epsilon)


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), for tensors of rank 2 and more.

    Each step takes `rate * weight_decay` of a weight away.
    """

    name, base, usual_rate, slots = "adamw", "AdamOptimizer", 0.001, ("Adam", "Adam_1")
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        not_negative("weight_decay", self.weight_decay)
        below_one("beta1", self.beta1)
        below_one("beta2", self.beta2)
        not_negative("epsilon", self.epsilon)


@dataclass(frozen=True)
class Ftrl(Optimizer):
    """Follow the regularised leader (McMahan et al. 2013)."""

    name, base, slots = "ftrl", "FtrlOptimizer", ("Ftrl", "Ftrl_1")
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        require("learning_rate_power", self.learning_rate_power, self.learning_rate_power <= 0, "a number not above 0")
        above_zero("initial_accumulator_value", self.initial_accumulator_value)
        not_negative("l1_regularization_strength", self.l1_regularization_strength)
        not_negative("l2_regularization_strength", self.l2_regularization_strength)
