"""Convert a Keras network to a `modelTopology` of TensorFlow.js, and its weight names.

The layers API reads Keras 2 configs: calls are lists, and those of a nested model are numbered from 1. Weight names
contain the names of their layers, but not those of enclosing models.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.connections import is_reference
from ckpttool.formats.keras.gate import Place
from ckpttool.formats.keras.network import Network, read_network
from ckpttool.formats.tfjs.compiled import training_config
from ckpttool.formats.tfjs.layers import layer_config

Config = Mapping[str, Any]
MODELS = ("Functional", "Sequential")
DEPTHWISE = "DepthwiseConv2D"


def keras_document(path: Path) -> tuple[dict[str, Any], Network]:
    """Return the entries of a model.json for the network of a Keras file, and the network.

    Raises:
        FormatError: the file has no network, or a layer that TensorFlow.js does not support.
    """
    network = read_network(path)
    version = network.metadata.get("keras_version")
    topology = {
        "keras_version": version,
        "backend": "tensorflow",
        "model_config": _model(network.architecture, Place(path)),
    }
    document = {"format": "layers-model", "generatedBy": f"keras v{version}", "convertedBy": "ckpttool"}
    training = training_config(network.compiled)
    compiled = {} if training is None else {"trainingConfig": training}
    return {**document, "modelTopology": topology, **compiled}, network


def weight_names(network: Network, names: Mapping[str, Any]) -> dict[str, str]:
    """Return the names in TensorFlow.js of a Keras file's weights, by their names here.

    Raises:
        FormatError: two weights would have the same name.
    """
    found = {name: _weight_name(network, name) for name in names}
    taken: dict[str, str] = {}
    for name, new in found.items():
        if new in taken:
            raise FormatError(f"{network.path}: {taken[new]} and {name} would both be {new} in TensorFlow.js")
        taken[new] = name
    return found


def _weight_name(network: Network, name: str) -> str:
    for new, old in network.renamed.items():
        if name.startswith(f"{old}/"):
            name = new + name.removeprefix(old)
    parts, layers = name.split("/"), _layers(network.architecture)
    while layers.get(parts[0], {}).get("class_name") in MODELS:
        layers, parts = _layers(layers[parts[0]]), parts[1:]
    if layers.get(parts[0], {}).get("class_name") == DEPTHWISE and parts[-1] == "kernel":
        parts[-1] = "depthwise_kernel"
    return "/".join(parts)


def _layers(model: Config) -> dict[str, Config]:
    return {layer["config"]["name"]: layer for layer in model["config"]["layers"]}


def _model(model: Config, place: Place) -> dict[str, Any]:
    """Return the Keras 2 config of a model."""
    own, kind = model["config"], model["class_name"]
    place = place.within(own.get("name"))
    if kind == "Sequential":
        layers = [_layer(layer, place) for layer in own["layers"]]
        if not layers or layers[0]["class_name"] not in ("InputLayer", *MODELS):
            raise FormatError(f"{place} has no shape of its inputs: build the model, and save it again")
        return {"class_name": kind, "config": {"name": own.get("name"), "layers": layers}}
    late = {name: layer["class_name"] for name, layer in _layers(model).items() if layer["class_name"] in MODELS}
    layers = [
        {**_layer(layer, place), "name": layer["config"]["name"], "inbound_nodes": _calls(layer, late, place)}
        for layer in own["layers"]
    ]
    sequential = {name for name, kind in late.items() if kind == "Sequential"}
    ends = {
        key: [_end(each, sequential) for each in _ends(own[key], place)] for key in ("input_layers", "output_layers")
    }
    return {"class_name": kind, "config": {"name": own.get("name"), "layers": layers, **ends}}


def _layer(layer: Config, place: Place) -> dict[str, Any]:
    """Return the config of a layer, a nested model or a wrapper."""
    kind = layer["class_name"]
    if kind in MODELS:
        return _model(layer, place)
    own = layer_config(layer, place)
    if isinstance(inner := own.get("layer"), Mapping):
        prefix = "forward_" if kind == "Bidirectional" else ""  # TensorFlow.js adds it again
        name = inner["config"]["name"].removeprefix(prefix)
        inner = {**inner, "config": {**inner["config"], "name": name}}
        own["layer"] = {"module": "keras.layers", **_layer(inner, place.within(own.get("name")))}  # for Keras
    return {"class_name": kind, "config": own}


def _ends(value: Any, place: Place) -> list[Any]:
    """Return the inputs or outputs of a model as a list of references."""
    ends = [value] if is_reference(value) else value
    if not isinstance(ends, list) or not all(is_reference(each) for each in ends):
        raise FormatError(f"{place} takes or gives tensors by names, which a model of TensorFlow.js does not")
    return ends


def _end(reference: list[Any], late: set[str]) -> list[Any]:
    return [reference[0], reference[1] + (reference[0] in late), reference[2]]


def _calls(layer: Config, late: Mapping[str, str], place: Place) -> list[Any]:
    """Return the calls of a layer, each a list of its input tensors."""
    calls = []
    for call in layer["inbound_nodes"]:
        tensors = _tensors(call, place.within(layer["config"]["name"]))
        calls.append([[*_end(tensor, set(late)), {}] for tensor in tensors])
    return calls


def _tensors(call: Any, place: Place) -> list[list[Any]]:
    """Return the input tensors of a call as [layer, call, tensor]; the call may have this form already.

    Raises:
        FormatError: the call has keyword arguments, or inputs that are not tensors.
    """
    if isinstance(call, list) and all(is_reference(each) and not any(each[3:]) for each in call):
        return [each[:3] for each in call]
    given, options = ([*call.get("args", ())], call.get("kwargs", {})) if isinstance(call, Mapping) else ([], {})
    tensors = given[0] if len(given) == 1 and isinstance(given[0], list) else given
    are_tensors = len(given) == 1 and all(isinstance(each, Mapping) and "config" in each for each in tensors)
    if not are_tensors or any(value not in (None, False) for value in options.values()):
        raise FormatError(f"{place} is called with options, or on more than one list of tensors: this is not converted")
    return [list(each["config"]["keras_history"]) for each in tensors]
