"""The compile config of a Keras network in the form that TensorFlow.js compiles a loaded model with.

`loadLayersModel` reads `trainingConfig` beside the topology. It throws if that names what it does not have, so a config
is written only if TensorFlow.js trains by it as Keras does; metrics, which change no training, are left out one by one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Config = Mapping[str, Any]


class _Optimizer(NamedTuple):
    """An optimizer's name in TensorFlow.js, its options there by their names in Keras, and what must be unset."""

    name: str
    options: Mapping[str, str]
    unset: tuple[str, ...] = ()


_RATE = {"learning_rate": "learning_rate"}
_MOMENTS = {**_RATE, "beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}
_MEANS = {**_RATE, "rho": "decay", "momentum": "momentum", "epsilon": "epsilon", "centered": "centered"}
OPTIMIZERS = {
    "SGD": _Optimizer("SGD", _RATE, ("momentum",)),
    "Adam": _Optimizer("Adam", _MOMENTS, ("amsgrad",)),
    "Adamax": _Optimizer("Adamax", _MOMENTS),
    "RMSprop": _Optimizer("RMSProp", _MEANS),
}
"""The optimizers that compute the same; SGD with a momentum does not."""
UNSET = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps")
LOSSES = {
    "mse": "mean_squared_error",
    "mean_squared_error": "mean_squared_error",
    "MeanSquaredError": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mean_absolute_error": "mean_absolute_error",
    "MeanAbsoluteError": "mean_absolute_error",
    "categorical_crossentropy": "categorical_crossentropy",
    "CategoricalCrossentropy": "categorical_crossentropy",
    "sparse_categorical_crossentropy": "sparse_categorical_crossentropy",
    "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
    "binary_crossentropy": "binary_crossentropy",
    "BinaryCrossentropy": "binary_crossentropy",
    "hinge": "hinge",
    "squared_hinge": "squared_hinge",
    "poisson": "poisson",
}
"""Losses by their names in Keras, of functions and of classes."""
PLAIN: Config = {
    "from_logits": False,
    "ignore_class": None,
    "label_smoothing": 0.0,
    "axis": -1,
    "reduction": "sum_over_batch_size",
}
"""The options of a loss that must have these values."""
METRICS = ("accuracy", "acc", "mse", "mae")


def training_config(compiled: Config | None) -> dict[str, Any] | None:
    """Return a compile config for TensorFlow.js; None if there is none, or if it would train otherwise.

    >>> config = {"optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.1, "momentum": 0.0}}, "loss": "mse"}
    >>> training_config({**config, "metrics": ["accuracy"]})["optimizer_config"]
    {'class_name': 'SGD', 'config': {'learning_rate': 0.1}}
    >>> training_config({**config, "loss_weights": [2.0]}) is None
    True
    """
    if not compiled or compiled.get("loss_weights"):
        return None
    optimizer, loss = _optimizer(compiled.get("optimizer")), _loss(compiled.get("loss"))
    if optimizer is None or loss is None:
        return None
    metrics = compiled.get("metrics")
    kept = [each for each in metrics if each in METRICS] if isinstance(metrics, list) else []
    return {"optimizer_config": optimizer, "loss": loss, "metrics": kept}


def _optimizer(given: Any) -> dict[str, Any] | None:
    config = given.get("config") if isinstance(given, Mapping) else None
    if not isinstance(config, Mapping):
        return None
    kind = OPTIMIZERS.get(str(given.get("class_name")))
    if kind is None or any(config.get(name) for name in (*UNSET, *kind.unset)):
        return None
    own = {new: config[old] for old, new in kind.options.items() if old in config}
    if not isinstance(own.get("learning_rate"), int | float):  # a schedule
        return None
    return {"class_name": kind.name, "config": own}


def _loss(given: Any) -> Any:
    """Return the name of a loss, or a list or an object of them; None if one is not that of TensorFlow.js."""
    if isinstance(given, str):
        return LOSSES.get(given)
    if isinstance(given, list):
        names = [_loss(each) for each in given]
        return names if names and None not in names else None
    if isinstance(given, Mapping) and "class_name" in given:
        options = given.get("config") or {}
        plain = all(options.get(name, value) == value for name, value in PLAIN.items())
        return LOSSES.get(str(given["class_name"])) if plain else None
    if isinstance(given, Mapping):
        by_name = {name: _loss(each) for name, each in given.items()}
        return by_name if by_name and None not in by_name.values() else None
    return None
