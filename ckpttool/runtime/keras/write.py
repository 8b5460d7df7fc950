"""The contents of Keras files: a graph's Keras network with the values of its variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import Tensor
from ckpttool.formats.keras.names import HOLDER
from ckpttool.formats.keras.writing import KerasWeights
from ckpttool.formats.wire import crc
from ckpttool.graph.contents.kept import kept_metadata
from ckpttool.graph.contents.keras_network import KerasNetwork, keras_network
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.runtime.configure import keras
from ckpttool.runtime.keras.build import SEED, KerasModel, built_once
from ckpttool.runtime.keras.legacy import listed_weights
from ckpttool.runtime.keras.optimizer import has_slots, initial_value, optimizer_state
from ckpttool.runtime.keras.penalties import penalised
from ckpttool.runtime.keras.private.optimizers import build_optimizer
from ckpttool.runtime.keras.private.walking import (
    is_made_in_building,
    is_network,
    set_trainable_alone,
    trainable_restored,
)

OPTIMIZER = "optimizer"
"""The group of an optimizer's variables."""


@dataclass(frozen=True)
class KerasContents:
    """The contents of a Keras file: the config, the metadata, the weights; and notes for the user.

    `places` maps each variable of the graph that is a weight of the network to its path in the file.
    """

    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    weights: KerasWeights
    places: Mapping[str, str]
    notes: list[str]


def keras_contents(graph: Graph, tensors: Mapping[str, Tensor]) -> KerasContents:
    """Return the contents of a `.keras` file for a graph with a Keras network.

    Raises:
        PlanError: the graph has no Keras network.
        FormatError: Keras cannot build the network.
    """
    said, model, stored, lacks = _built(graph, tensors)
    lacks += [lack for about in said.lacks.values() for lack in about]
    with trainable_restored(model.live):
        lacks = [*_set_trainable(model, stored, graph), *lacks]
        compiled = _compiled(model)
        state, named, begins_anew = _optimizer(model, compiled, stored, graph, tensors)
        config = keras().saving.serialize_keras_object(model.live)
    if compiled:
        config["compile_config"] = keras().saving.serialize_keras_object(compiled.get_compile_config())
    weights = KerasWeights.numbered({**_state(model, stored, tensors), **state}, {**model.layout.names, **named})
    places = {own: model.places[name] for name, own in stored.items()}
    return KerasContents(config, _metadata(graph), weights, places, [*lacks, *begins_anew])


def listed_contents(graph: Graph, tensors: Mapping[str, Tensor]) -> KerasContents:
    """Return the contents of an `.h5` file of Keras 1 and 2, which contains only the weights, listed by layer."""
    _, model, stored, _ = _built(graph, tensors)
    values = {
        name: tensors[stored[name]] if name in stored else initial_value(variable)
        for name, variable in model.variables.items()
    }
    with trainable_restored(model.live):
        _set_trainable(model, stored, graph)
        weights, found = listed_weights(model, values)
    places = {stored[name]: place for name, place in found.items() if name in stored}
    return KerasContents({}, {}, weights, places, [])


def _built(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[KerasNetwork, KerasModel, dict[str, str], list[str]]:
    """Return the graph's network, the network built by Keras, and the names of its weights in the graph.

    The last item lists penalties that Keras lacks.
    """
    said = required_network(graph)
    architecture, lacks = penalised(said.architecture, said.penalties)
    model = built_once(architecture, said.compiled, Path(graph.source))
    return said, model, _stored_names(model, said, tensors, graph.source), lacks


def required_network(graph: Graph) -> KerasNetwork:
    """Return the Keras network of a graph.

    Raises:
        PlanError: the graph has none; the message says why, if it had one.
    """
    said = keras_network(graph)
    if said is None:
        raise PlanError(
            f"{graph.source} was not made of a network of Keras, which a .keras file would hold: `to` ckpt or "
            "saved-model writes it; weights alone go into one by `import(into)`"
        )
    if said.lost:
        raise PlanError(f"{graph.source}: no file of Keras can be written, for {said.lost}; `to` ckpt writes the model")
    return said


def _stored_names(model: KerasModel, said: KerasNetwork, tensors: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Return the graph's name of each weight of the network; unused counters may have none.

    Raises:
        FormatError: the graph lacks a weight, or it has another shape.
    """
    names: dict[str, str] = {}
    for name, variable in model.variables.items():
        first, slash, rest = name.partition("/")
        own = next((each for each in (name, f"{said.renamed.get(first, first)}{slash}{rest}") if each in tensors), None)
        if own is None and not variable.dtype.startswith(("float", "bfloat")):
            continue
        if own is None:
            raise FormatError(
                f"{source}: its network of Keras has the weight {name}, and the graph has none of that name"
            )
        if tensors[own].shape != tuple(variable.shape):
            shapes = f"{list(variable.shape)} in its network of Keras, {list(tensors[own].shape)} in the graph"
            raise FormatError(f"{source}: {own} is {shapes}")
        names[name] = own
    return names


def _set_trainable(model: KerasModel, stored: Mapping[str, str], graph: Graph) -> list[str]:
    """Set `trainable` of each layer according to the graph; return the cases that Keras cannot represent."""
    trained = {name for name, variable in variables(graph).items() if variable.trainable}
    names = _names(model, stored)
    mixed: list[str] = []
    forgotten: list[str] = []

    def settle(layer: Any) -> bool:
        if is_network(layer):
            inner = [settle(each) for each in layer.layers]
            if any(inner) and not layer.trainable:
                set_trainable_alone(layer, True)
            return any(inner)
        wanted = {names[id(each)] for each in layer.variables if names.get(id(each)) in trained}
        if wanted != _trained(layer, names):
            layer.trainable = bool(wanted)
            others = _trained(layer, names) - wanted
            mixed.extend(sorted(others))
        if not layer.trainable and is_made_in_building(layer):
            forgotten.append(layer.name)
        return bool(wanted)

    settle(model.live)
    return [
        *notes_about("Keras freezes whole layers: frozen in the graph and trained in the Keras file", mixed),
        *notes_about(
            "Keras forgets when it loads these that they are frozen, until `trainable` is set True and False again",
            forgotten,
        ),
    ]


def _trained(layer: Any, names: Mapping[int, str]) -> set[str]:
    return {names[id(each)] for each in layer.trainable_variables if id(each) in names}


def _state(model: KerasModel, stored: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of a network's variables by their paths in the file."""
    names = _names(model, stored)
    return {
        place: tensors[names[id(variable)]] if id(variable) in names else _begun(place, variable)
        for place, (_, variable) in model.layout.variables.items()
    }


def _compiled(model: KerasModel) -> Any | None:
    """Return a model without layers, compiled like the network; None if there is no optimizer.

    Its optimizer has variables for the trained weights of the network.
    """
    compiled = model.network.compiled
    if not (compiled and compiled.get(OPTIMIZER)):
        return None
    compiler = keras().Sequential()
    given = keras().saving.deserialize_keras_object(dict(compiled))
    compiler.compile(**{"jit_compile": model.live.jit_compile, **given})
    build_optimizer(compiler.optimizer, model.live.trainable_variables)
    return compiler


def _optimizer(
    model: KerasModel,
    compiled: Any | None,
    stored: Mapping[str, str],
    graph: Graph,
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Return the values of the optimizer's variables by path, its name, and whether its state is initial."""
    if compiled is None:
        return {}, {}, []
    optimizer = compiled.optimizer
    names = _names(model, stored)
    slots = {name: (each.owner, name.rpartition("/")[2]) for name, each in variables(graph).items() if each.owner}
    state = enumerate(optimizer_state(optimizer, names, tensors, slots))
    values = {f"{OPTIMIZER}/{HOLDER}/{number}": tensor for number, tensor in state}
    anew = has_slots(optimizer) and not slots
    notes = [f"the optimizer {type(optimizer).__name__} begins anew: the graph has none of its slots"] if anew else []
    return values, {OPTIMIZER: optimizer.name}, notes


def _names(model: KerasModel, stored: Mapping[str, str]) -> dict[int, str]:
    """Return the graph's names of the network's variables by their identity."""
    return {id(variable): stored[name] for name, variable in model.variables.items() if name in stored}


def _begun(place: str, variable: Any) -> Tensor:
    """Return the initial value of a variable that is not in the graph: a random generator's state, a counter."""
    return _seed(place, variable) if variable.name == SEED else initial_value(variable)


def _seed(place: str, variable: Any) -> Tensor:
    """Return the initial state of a random generator: its own seed, and a counter of 0."""
    state = np.array([crc.extend(0, place.encode()) & 0x7FFFFFFF, 0], variable.dtype)
    return Tensor.of(place, state)


def _metadata(graph: Graph) -> dict[str, Any]:
    """Return the metadata of a file as Keras writes it, and additional properties of the model."""
    date = datetime.now(UTC).strftime("%Y-%m-%d@%H:%M:%S")
    return {"keras_version": keras().__version__, "date_saved": date, **kept_metadata(graph)}
