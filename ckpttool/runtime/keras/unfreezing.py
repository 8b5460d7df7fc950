"""Unfreezing: layers that a Keras file keeps from training are trained again, as `layer.trainable = True` has it."""

from typing import Any

from ckpttool.core.names import Pattern
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.private.walking import is_network, set_trainable_alone


def unfreeze(model: KerasModel, pattern: Pattern) -> None:
    """Let the layers be trained that hold a weight which a pattern takes, and the models that they are in.

    Raises:
        UnknownName: the pattern takes no weight.
    """
    chosen = {id(model.variables[name]) for name in pattern.select(model.variables)}

    def settle(layer: Any) -> bool:
        if is_network(layer):
            inner = [settle(each) for each in layer.layers]
            if any(inner):
                set_trainable_alone(layer, True)
            return any(inner)
        taken = any(id(each) in chosen for each in layer.variables)
        if taken:
            layer.trainable = True
        return taken

    settle(model.live)
