"""Keras layers that behave differently in training: those that draw random numbers or update averages."""

from typing import Any

from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.build import SEED
from ckpttool.runtime.keras.private.walking import layers_within, takes_training

_RATES = ("rate", "dropout", "recurrent_dropout", "stddev", "drop_path_rate")
"""The arguments of layers for the strength of their randomness in training."""


def depends_on_training(layer: Any) -> bool:
    """Return whether a layer behaves differently in training: it draws random numbers, or updates averages."""
    return any(_draws(each) or _moves(each) for each in layers_within(layer) if takes_training(each))


def _draws(layer: Any) -> bool:
    """Return whether a layer draws random numbers: it has a rate above zero, or a generator and no rate."""
    rates = [getattr(layer, name) for name in _RATES if isinstance(getattr(layer, name, None), int | float)]
    if rates:
        return any(rates)
    return any(isinstance(value, keras().random.SeedGenerator) for value in vars(layer).values())


def _moves(layer: Any) -> bool:
    """Return whether a layer has averages that it updates, which a frozen layer does not."""
    states = [each for each in layer.non_trainable_variables if each.name != SEED]
    return bool(layer.trainable and states)
