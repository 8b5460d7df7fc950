"""Conversion of the calls of Keras 2's layers, with their node indices, to the notation of Keras 3."""

from collections.abc import Collection, Mapping
from typing import Any

from ckpttool.formats.keras.connections import is_reference, references

Config = dict[str, Any]
STATES = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")
"""Layers whose initial states Keras 2 lists among the inputs of a call."""


def calls_upgraded(own: Config) -> Config:
    """Return the layers, inputs and outputs of a Functional model with Keras 3's node indices and notation.

    For layers that are models, Keras 2 counts nodes from 1, after the model's own node; Keras 3 does so only for
    Functional models, and only in the list of outputs.
    """
    models = {layer["name"]: layer["class_name"] for layer in own["layers"] if "layers" in (layer["config"] or {})}
    nodes = [layer["inbound_nodes"] for layer in own["layers"]]
    early = {name for name, number in references([nodes, own["output_layers"]]) if number == 0}
    late = {name for name in models if name not in early}
    sequential = {name for name in late if models[name] == "Sequential"}
    layers = [
        {
            **layer,
            "inbound_nodes": [_node(_shifted(node, late), layer["class_name"]) for node in layer["inbound_nodes"]],
        }
        for layer in own["layers"]
    ]
    outputs = _shifted(own["output_layers"], sequential)
    return {"layers": layers, "input_layers": _alone(own["input_layers"]), "output_layers": _alone(outputs)}


def _alone(tensors: Any) -> Any:
    """Return the only tensor of a list without the list: Keras 2's models had single inputs and outputs then."""
    return tensors[0] if isinstance(tensors, list) and len(tensors) == 1 and is_reference(tensors[0]) else tensors


def _shifted(value: Any, late: Collection[str]) -> Any:
    if is_reference(value):
        rest = [_shifted(each, late) for each in value[3:]]
        return [value[0], value[1] - (value[0] in late), value[2], *rest]
    if isinstance(value, list):
        return [_shifted(each, late) for each in value]
    return {key: _shifted(each, late) for key, each in value.items()} if isinstance(value, Mapping) else value


def _node(node: Any, kind: str) -> Any:
    """Return a layer call in Keras 3's notation if its options contain tensors, or its inputs states."""
    if not isinstance(node, list) or not node or not all(is_reference(each) for each in node):
        return node
    options: Any = next((each[3] for each in node if len(each) == 4), {})
    inputs = [_tensor(each[:3]) for each in node]
    if kind in STATES and len(inputs) > 1:
        return {"args": inputs[:1], "kwargs": {**_tensor(options), "initial_state": inputs[1:]}}
    if not any(references(options)):
        return node
    return {"args": inputs if len(inputs) == 1 else [inputs], "kwargs": _tensor(options)}


def _tensor(value: Any) -> Any:
    """Return a value with references replaced by Keras 3 tensors, which Keras identifies only by their history."""
    if is_reference(value):
        config = {"shape": [], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": config}
    if isinstance(value, list):
        return [_tensor(each) for each in value]
    return {key: _tensor(each) for key, each in value.items()} if isinstance(value, Mapping) else value
