"""The loss (as one of our objectives, of logits or not) and the optimizer with which a Keras model was compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_CLASSES = {
    "SparseCategoricalCrossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
    "CategoricalCrossentropy": "softmax_dense",
    "categorical_crossentropy": "softmax_dense",
    "BinaryCrossentropy": "sigmoid",
    "binary_crossentropy": "sigmoid",
    "MeanSquaredError": "mse",
    "mean_squared_error": "mse",
    "mse": "mse",
    "MeanAbsoluteError": "mae",
    "mean_absolute_error": "mae",
    "mae": "mae",
    "MeanAbsolutePercentageError": "mape",
    "mean_absolute_percentage_error": "mape",
    "mape": "mape",
    "Huber": "huber",
    "huber": "huber",
    "LogCosh": "log_cosh",
    "log_cosh": "log_cosh",
    "logcosh": "log_cosh",
}
"""Our objectives for Keras's losses, by the names of the classes and functions."""
_OF_NUMBERS = frozenset({"mse", "mae", "mape", "huber", "log_cosh"})
_STANDARD = {"reduction": "sum_over_batch_size", "axis": -1, "ignore_class": None, "fn": None, "delta": 1.0}
"""The required values of a loss's parameters, if they are in its config, for it to be one of our objectives."""


@dataclass(frozen=True)
class CompiledLoss:
    """The loss of a compiled model: its objective, and whether it expects logits.

    `from_logits` is None for losses of numbers, which have no activation.
    """

    objective: str
    from_logits: bool | None
    label_smoothing: float = 0.0


def compiled_loss(compiled: Mapping[str, Any] | None) -> CompiledLoss | None:
    """Return the loss of a compile config; None if there is none, or several, or one that is not supported.

    >>> compiled_loss({"loss": "sparse_categorical_crossentropy"})
    CompiledLoss(objective='softmax', from_logits=False, label_smoothing=0.0)
    """
    loss = (compiled or {}).get("loss")
    if isinstance(loss, list | dict) and len(loss) == 1:
        loss = loss[0] if isinstance(loss, list) else next(iter(loss.values()))
    if compiled is None or compiled.get("loss_weights"):
        return None
    name, config = (loss, {}) if isinstance(loss, str) else _named(loss)
    if name not in _CLASSES or any(config.get(key, value) not in (value, None) for key, value in _STANDARD.items()):
        return None
    objective = _CLASSES[name]
    logits = None if objective in _OF_NUMBERS else bool(config.get("from_logits", False))
    return CompiledLoss(objective, logits, float(config.get("label_smoothing") or 0.0))


def compiled_text(compiled: Mapping[str, Any] | None) -> str | None:
    """Return a description of the losses in a compile config, by output if there are several; None without a loss.

    >>> compiled_text({"loss": {"a": "mse", "b": {"class_name": "Huber", "config": {}}}})
    'mse for a, Huber for b'
    """
    loss = (compiled or {}).get("loss")
    if isinstance(loss, dict) and not isinstance(loss.get("class_name"), str):
        texts = [f"{_text(each)} for {name}" for name, each in loss.items() if each]
    else:
        texts = [_text(each) for each in (loss if isinstance(loss, list) else [loss]) if each]
    return ", ".join(texts) or None


def _text(loss: Any) -> str:
    return loss if isinstance(loss, str) else _named(loss)[0] or "a loss of its own"


def compiled_optimizer(compiled: Mapping[str, Any] | None) -> str | None:
    """Return a description of the optimizer in a compile config, or None.

    >>> compiled_optimizer({"optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.001}}})
    'Adam at a rate of 0.001'
    """
    optimizer = (compiled or {}).get("optimizer")
    name, config = (optimizer, {}) if isinstance(optimizer, str) else _named(optimizer)
    rate = config.get("learning_rate")
    return f"{name} at a rate of {rate:g}" if name and isinstance(rate, int | float) else name or None


def _named(loss: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(loss, dict) or not isinstance(loss.get("class_name"), str):
        return "", {}
    config = loss.get("config")
    if loss["class_name"] == "function":
        return str(config), {}
    return loss["class_name"], config if isinstance(config, dict) else {}
