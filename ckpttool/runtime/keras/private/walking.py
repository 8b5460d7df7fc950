"""The structure of a network: models, layers, calls of layers, and which of them are trainable."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import keras


def is_network(layer: Any) -> bool:
    """Return whether a layer is a Functional or Sequential model, which `run_layer_by_layer` supports."""
    keras()
    from keras.src.models.functional import Functional

    return isinstance(functional_of(layer), Functional)


def functional_of(model: Any) -> Any:
    """Return the Functional model that a Sequential one uses internally; other models are returned unchanged.

    Needs `Sequential._functional`.
    """
    return getattr(model, "_functional", None) or model


def layers_within(layer: Any) -> list[Any]:
    """Return a layer and all nested layers; empty for an operation that is not a layer.

    Needs `Layer._flatten_layers`.
    """
    flatten = getattr(layer, "_flatten_layers", None)
    return [] if flatten is None else list(flatten(include_self=True, recursive=True))


def parts_of(layer: Any) -> list[Any]:
    """Return the objects of a layer that contain numbers: itself, and its regularisers and constraints.

    Needs these to be attributes of the layer and of its variables.
    """
    kinds = (keras().regularizers.Regularizer, keras().constraints.Constraint)
    held = [*vars(layer).values(), *(getattr(each, "regularizer", None) for each in layer.weights)]
    return [layer, *(value for value in held if isinstance(value, kinds))]


def takes_training(layer: Any) -> bool:
    """Return whether a layer's output may depend on the training mode.

    Needs `Layer._call_has_training_arg`.
    """
    return bool(getattr(layer, "_call_has_training_arg", False))


def calls_of_network(model: Any) -> dict[int, tuple[str, int]]:
    """Return the layer's name and the index of the call for each node of a model, by the node's `id`.

    Needs `_nodes_by_depth` of Functional models, and `Operation._inbound_nodes`.
    """
    nodes = [node for depth in functional_of(model)._nodes_by_depth.values() for node in depth]
    own = {id(node) for node in nodes}
    return {
        id(node): (operation.name, number)
        for operation in {id(node.operation): node.operation for node in nodes}.values()
        for number, node in enumerate(each for each in operation._inbound_nodes if id(each) in own)
    }


def set_trainable_alone(layer: Any, trainable: bool) -> None:
    """Set a model's trainable flag without changing its layers, to which its property would propagate the value.

    Needs `Layer._trainable`.
    """
    layer._trainable = trainable


def freeze_throughout(model: Any) -> None:
    """Freeze all parts of layers that are frozen according to their config.

    Keras creates some parts when it builds a layer, such as the projections of an attention, as trainable. Setting a
    layer's flag to the value that it already has is ignored, so it is set for each part.
    """
    for layer in layers_within(model):
        if not layer.trainable:
            for part in layers_within(layer):
                part.trainable = False


def is_made_in_building(layer: Any) -> bool:
    """Return whether a layer creates parts when it is built: its config does not contain these, nor their flags."""
    own = layers_within(layer)
    return len(own) > 1 and len(layers_within(type(layer).from_config(layer.get_config()))) < len(own)


@contextmanager
def trainable_restored(model: Any) -> Iterator[None]:
    """Restore the current trainable flags of a model, its layers and their variables at the end of the block.

    Needs `Layer._trainable`.
    """
    layers = [(each, each._trainable) for each in layers_within(model)]
    variables = [(each, each.trainable) for each in model.variables]
    try:
        yield
    finally:
        for layer, trainable in layers:
            set_trainable_alone(layer, trainable)
        for variable, trainable in variables:
            variable.trainable = trainable
