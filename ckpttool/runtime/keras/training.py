"""Which layers of Keras compute something else while they are trained: those that draw numbers or move averages."""

from typing import Any

from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.build import SEED
from ckpttool.runtime.keras.private.walking import layers_within, takes_training

_RATES = ("rate", "dropout", "recurrent_dropout", "stddev", "drop_path_rate")
"""What layers call the strength of what they do by chance while training."""


def depends_on_training(layer: Any) -> bool:
    """Say whether a layer computes something else while it is trained: it draws numbers, or moves averages."""
    return any(_draws(each) or _moves(each) for each in layers_within(layer) if takes_training(each))


def _draws(layer: Any) -> bool:
    """Say whether a layer draws numbers, as those do that have a rate that is not zero, or none but a generator."""
    rates = [getattr(layer, name) for name in _RATES if isinstance(getattr(layer, name, None), int | float)]
    if rates:
        return any(rates)
    return any(isinstance(value, keras().random.SeedGenerator) for value in vars(layer).values())


def _moves(layer: Any) -> bool:
    """Say whether a layer has averages that it moves; a frozen one does not."""
    states = [each for each in layer.non_trainable_variables if each.name != SEED]
    return bool(layer.trainable and states)
