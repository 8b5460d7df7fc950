"""Unfreezing of layers that are frozen in a Keras file, like `layer.trainable = True`."""

from typing import Any

from ckpttool.core.patterns import Pattern
from ckpttool.runtime.keras.build import KerasModel
from ckpttool.runtime.keras.private.walking import is_network, set_trainable_alone


def unfreeze(model: KerasModel, pattern: Pattern) -> None:
    """Make the layers trainable that have a weight matched by a pattern, and the models that contain them.

    Raises:
        UnknownName: the pattern matches no weight.
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
