"""What a network is made of: models, layers, calls of layers, and which of them are trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import keras


def is_network(layer: Any) -> bool:
    """Say whether a layer is a model that is made of layers, as `run_layer_by_layer` runs them."""
    keras()
    from keras.src.models.functional import Functional

    return isinstance(functional_of(layer), Functional)


def functional_of(model: Any) -> Any:
    """Return the Functional model that a Sequential one is run as; another model as it is.

    Needs `Sequential._functional`.
    """
    return getattr(model, "_functional", None) or model


def layers_within(layer: Any) -> list[Any]:
    """Return a layer and all that it is made of, to any depth; none of an operation that is no layer.

    Needs `Layer._flatten_layers`.
    """
    flatten = getattr(layer, "_flatten_layers", None)
    return [] if flatten is None else list(flatten(include_self=True, recursive=True))


def parts_of(layer: Any) -> list[Any]:
    """Return a layer's own objects that hold numbers: itself, and its regularisers and constraints.

    Needs that these are attributes of the layer and of its variables.
    """
    kinds = (keras().regularizers.Regularizer, keras().constraints.Constraint)
    held = [*vars(layer).values(), *(getattr(each, "regularizer", None) for each in layer.weights)]
    return [layer, *(value for value in held if isinstance(value, kinds))]


def takes_training(layer: Any) -> bool:
    """Say whether what a layer computes may depend on whether it is trained.

    Needs `Layer._call_has_training_arg`.
    """
    return bool(getattr(layer, "_call_has_training_arg", False))


def calls_of_network(model: Any) -> dict[int, tuple[str, int]]:
    """Return which call of which layer each node of a model is, by the node's identity: calls are counted per layer.

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
    """Say of a model whether it is trained, and nothing of the layers in it, to which its property would pass it on.

    Needs `Layer._trainable`.
    """
    layer._trainable = trainable


def freeze_throughout(model: Any) -> None:
    """Let no part of a layer be trained that its config says is not.

    Keras makes some parts when it builds the layer, such as the projections of an attention, and trains these again.
    To set what a layer says already does nothing there, so each part is told.
    """
    for layer in layers_within(model):
        if not layer.trainable:
            for part in layers_within(layer):
                part.trainable = False


def is_made_in_building(layer: Any) -> bool:
    """Say whether a layer gets parts when it is built: Keras writes nothing of these, so nor that they are frozen."""
    own = layers_within(layer)
    return len(own) > 1 and len(layers_within(type(layer).from_config(layer.get_config()))) < len(own)


@contextmanager
def trainable_restored(model: Any) -> Iterator[None]:
    """Let a model, its layers and their variables be trained again, or not, as they are now, once this is left.

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
