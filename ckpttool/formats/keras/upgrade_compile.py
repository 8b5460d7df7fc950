"""Conversion of a Keras 2 model's compile config to Keras 3: losses, metrics and the optimizer."""

from collections.abc import Mapping
from typing import Any

from ckpttool.formats.keras.cutting import serialized

Config = dict[str, Any]
LOSSES = {"kullback_leibler_divergence": "kl_divergence"}
"""Names of losses that Keras 3 has renamed."""


def compile_upgraded(config: Config) -> Config:
    """Return a compile config for Keras 3."""
    own = {key: value for key, value in config.items() if key != "sample_weight_mode"}
    for key in ("loss", "metrics", "weighted_metrics"):
        own[key] = _objective(own.get(key))
    if isinstance(own.get("optimizer"), Mapping):
        own["optimizer"] = _optimizer(own["optimizer"])
    return own


def _objective(value: Any) -> Any:
    """Return losses and metrics; wrappers of a function are replaced by its name."""
    if isinstance(value, list):
        return [_objective(each) for each in value]
    if isinstance(value, str):
        return LOSSES.get(value, value)
    if not isinstance(value, Mapping):
        return value
    if "class_name" not in value:
        return {key: _objective(each) for key, each in value.items()}
    own = dict(value["config"] or {})
    if isinstance(own.get("fn"), str):
        return LOSSES.get(own["fn"], own["fn"])
    if own.get("reduction") == "auto":
        own["reduction"] = "sum_over_batch_size"
    return {**value, "config": own}


def _optimizer(config: Mapping[str, Any]) -> Config:
    """Return an optimizer's config, in which a decay of the learning rate is an equivalent schedule."""
    own = dict(config["config"] or {})
    if "lr" in own:
        own["learning_rate"] = own.pop("lr")
    for key in ("schedule_decay", "is_legacy_optimizer", "jit_compile"):
        own.pop(key, None)
    if decay := own.pop("decay", None):
        rate = {"initial_learning_rate": own["learning_rate"], "decay_steps": 1, "decay_rate": decay}
        own["learning_rate"] = serialized("keras.optimizers.schedules", "InverseTimeDecay", **rate)
    return {**config, "config": own}
