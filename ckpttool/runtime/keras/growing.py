"""Updates of a graph's Keras network for additions to the graph: layers of SPEC, an objective, a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpttool.formats.keras.cutting import layer, outputs_of, sequential
from ckpttool.formats.keras.objective import compiled_loss
from ckpttool.graph.contents.keras_network import KerasNetwork
from ckpttool.runtime.keras.compiled import loss_in_keras, optimizer_in_keras
from ckpttool.runtime.keras.layers import in_keras
from ckpttool.runtime.keras.penalties import penalties_of
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import LayerSpec


def only_inputs(name: str, shape: Sequence[int]) -> KerasNetwork:
    """Return a network without layers whose input has rows of a shape."""
    return KerasNetwork(sequential([layer("InputLayer", name, batch_shape=[None, *shape], dtype="float32")]))


def headed(
    network: KerasNetwork, layers: Sequence[LayerSpec], outputs: Mapping[str, Any], objective: Objective
) -> KerasNetwork:
    """Return a network with added layers and an objective; `outputs` are the layers' outputs in the graph, by name."""
    return judged(with_layers_on(network, layers, outputs), objective)


def with_layers_on(network: KerasNetwork, layers: Sequence[LayerSpec], outputs: Mapping[str, Any]) -> KerasNetwork:
    """Return a network with added layers; `outputs` are the layers' outputs in the graph, by name."""
    new = {spec.name: in_keras(spec.name, spec.layer, outputs[spec.name]) for spec in layers}
    lacks = [lack for each in new.values() for lack in each.lacks]
    tensors = {name: output.name for name, output in outputs.items()}
    put = network.having_layers({name: each.layers for name, each in new.items()}, tensors)
    return put.lacking("layers", lacks)


def judged(network: KerasNetwork, objective: Objective, from_logits: bool = True) -> KerasNetwork:
    """Return a network with the loss and the metrics of an objective, for outputs that are logits or probabilities.

    The compiled loss is kept if it is the same.
    """
    if outputs_of(network.architecture) > 1:
        lack = f"Keras compiles {outputs_of(network.architecture)} outputs, the loss is of one: compile before fit"
        return network.compiled_with("objective", [lack], loss=None, metrics=None, loss_weights=None)
    loss, metrics = loss_in_keras(objective, from_logits)
    if loss.config and compiled_loss(network.compiled) == compiled_loss({"loss": loss.config}):
        return network.lacking("objective", loss.lacks)
    others = {"loss_weights": None, "weighted_metrics": None}
    return network.compiled_with("objective", loss.lacks, loss=loss.config, metrics=metrics, **others)


def trained_by(network: KerasNetwork, recipe: Recipe, ranks: Mapping[str, int], trained: Sequence[str]) -> KerasNetwork:
    """Return a network with the optimizer of a recipe, and with its penalties for trained weights.

    `ranks` are the ranks of all weights of the graph, by name.
    """
    optimizer = optimizer_in_keras(recipe)
    put = network.compiled_with("optimizer", optimizer.lacks, optimizer=optimizer.config)
    return replace(put, penalties=penalties_of(recipe, ranks, trained))
