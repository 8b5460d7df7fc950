"""Keras's compile arguments for an objective and a recipe: a loss and metrics, an optimizer and its learning rate.

Settings that Keras lacks are listed instead: rates per layer, a warm-up, class weights.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ckpttool.formats.keras.connections import Config
from ckpttool.formats.keras.cutting import serialized
from ckpttool.runtime import optimizers, schedules
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.recipe import Recipe


class Compiled(NamedTuple):
    """A part of a compile config, and the settings that Keras lacks."""

    config: Any
    lacks: Sequence[str] = ()


_OF_NUMBERS = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError",
    "huber": "Huber",
    "log_cosh": "LogCosh",
}


def loss_in_keras(objective: Objective, from_logits: bool = True) -> tuple[Compiled, list[Any]]:
    """Return the loss (None if Keras has none) and the metrics of an objective, for logits or probabilities."""
    smoothing = objective.label_smoothing
    lacks = (
        ["Keras keeps no weights of classes with a model: give `fit` a class_weight"] if objective.class_weight else []
    )
    if objective.kind == "softmax":
        lacks += ["Keras lacks smoothed labels where classes are numbers"] if smoothing else []
        return Compiled(_loss("SparseCategoricalCrossentropy", from_logits=from_logits), lacks), ["accuracy"]
    if objective.kind == "softmax_dense":
        loss = _loss("CategoricalCrossentropy", from_logits=from_logits, label_smoothing=smoothing)
        return Compiled(loss, lacks), [_metric("CategoricalAccuracy", "accuracy")]
    if objective.kind == "sigmoid":
        loss = _loss("BinaryCrossentropy", from_logits=from_logits, label_smoothing=smoothing)
        return Compiled(loss, lacks), [_metric("BinaryAccuracy", "accuracy", threshold=0.0 if from_logits else 0.5)]
    if objective.kind in _OF_NUMBERS:
        return Compiled(_loss(_OF_NUMBERS[objective.kind]), lacks), [
            _metric("MeanAbsoluteError", "mean_absolute_error")
        ]
    return Compiled(None, [f"Keras lacks the loss {objective.kind}: compile the model with one before `fit`"]), [
        "accuracy"
    ]


def _loss(class_name: str, **config: Any) -> Config:
    return serialized("keras.losses", class_name, **config)


def _metric(class_name: str, name: str, **config: Any) -> Config:
    return serialized("keras.metrics", class_name, name=name, **config)


def optimizer_in_keras(recipe: Recipe) -> Compiled:
    """Return the optimizer of a recipe, with its learning rate and clipping."""
    rule = recipe.update_rule
    class_name, translate = _OPTIMIZERS[type(rule)]
    rate, lacks = _rate(recipe)
    clips = {"clipvalue": recipe.clip_value, "clipnorm": recipe.clip_norm, "global_clipnorm": recipe.clip_global_norm}
    given = {name: bound for name, bound in clips.items() if bound is not None}
    first = dict([*given.items()][:1])
    others = given.keys() - first.keys()
    lacks = [
        *lacks,
        *(["Keras lacks several ways to clip gradients at once, of which it does the first"] if others else []),
    ]
    if isinstance(rule, optimizers.AdamW) and rule.weight_decay:
        lacks.append("Keras lacks a weight decay of kernels alone that a file could hold: biases and scales decay too")
    if recipe.l2_sp:
        lacks.append("Keras lacks a pull towards the values at the start (`l2_sp`): fit continues without")
    if recipe.ema:
        lacks.append("Keras lacks a place for a weight beside its moving average: the file has the averages as weights")
    config = serialized("keras.optimizers", class_name, learning_rate=rate, **translate(rule), **first)
    return Compiled(config, lacks)


def _rate(recipe: Recipe) -> tuple[Any, list[str]]:
    """Return the learning rate, a number or the config of a schedule, and the settings that Keras lacks."""
    lacks = []
    if recipe.has_several_rates:
        lacks.append("Keras lacks a learning rate for each layer: all have the base rate")
    if recipe.warmup:
        lacks.append("Keras lacks the warm-up of the rate")
    schedule = recipe.rate_schedule
    if isinstance(schedule, schedules.Constant):
        return recipe.rate, lacks
    if isinstance(schedule, schedules.Piecewise):
        factors = [recipe.rate * factor for factor in schedule.factors]
        return _schedule("PiecewiseConstantDecay", boundaries=[*schedule.steps], values=factors), lacks
    found = _decay(recipe.rate, schedule) if getattr(schedule, "steps", None) else None
    return (
        (recipe.rate, [*lacks, f"Keras lacks the schedule {schedule}: the rate stays as it is"])
        if found is None
        else (found, lacks)
    )


def _decay(rate: float, schedule: schedules.Schedule) -> Config | None:
    """Return the config of a schedule with a number of steps; None if Keras has none like it."""
    if isinstance(schedule, schedules.Exponential):
        return _schedule(
            "ExponentialDecay", initial_learning_rate=rate, decay_steps=schedule.steps, decay_rate=schedule.rate
        )
    if isinstance(schedule, schedules.Power) and schedule.c == 1:
        return _schedule("InverseTimeDecay", initial_learning_rate=rate, decay_steps=schedule.steps, decay_rate=1.0)
    if isinstance(schedule, schedules.Polynomial):
        ends = {"end_learning_rate": rate * schedule.end, "power": schedule.power}
        return _schedule("PolynomialDecay", initial_learning_rate=rate, decay_steps=schedule.steps, **ends)
    if isinstance(schedule, schedules.Cosine):
        return _schedule("CosineDecay", initial_learning_rate=rate, decay_steps=schedule.steps, alpha=schedule.end)
    return None


def _schedule(class_name: str, **config: Any) -> Config:
    return serialized("keras.optimizers.schedules", class_name, **config)


def _sgd(rule: Any) -> dict[str, Any]:
    nesterov = isinstance(rule, optimizers.Nesterov)
    return {"momentum": getattr(rule, "momentum", 0.0), "nesterov": nesterov}


def _adam(rule: Any) -> dict[str, Any]:
    return {"beta_1": rule.beta1, "beta_2": rule.beta2, "epsilon": rule.epsilon}


_OPTIMIZERS: Mapping[type[Optimizer], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    optimizers.GradientDescent: ("SGD", _sgd),
    optimizers.Momentum: ("SGD", _sgd),
    optimizers.Nesterov: ("SGD", _sgd),
    optimizers.Adagrad: (
        "Adagrad",
        lambda rule: {"initial_accumulator_value": rule.initial_accumulator_value, "epsilon": 0.0},
    ),
    optimizers.RMSProp: (
        "RMSprop",
        lambda rule: {
            "rho": rule.decay,
            "momentum": rule.momentum,
            "epsilon": rule.epsilon,
            "centered": rule.centered,
        },
    ),
    optimizers.Adam: ("Adam", _adam),
    optimizers.AdamW: ("AdamW", lambda rule: {**_adam(rule), "weight_decay": rule.weight_decay}),
    optimizers.Ftrl: (
        "Ftrl",
        lambda rule: {
            "learning_rate_power": rule.learning_rate_power,
            "initial_accumulator_value": rule.initial_accumulator_value,
            "l1_regularization_strength": rule.l1_regularization_strength,
            "l2_regularization_strength": rule.l2_regularization_strength,
        },
    ),
}
"""Keras's class with the same updates as an optimizer, and its arguments."""
