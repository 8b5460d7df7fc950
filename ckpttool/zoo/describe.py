"""The description of a model for the catalogue: layers, inputs, outputs, tensors, preprocessing and classes.

Nothing is run and no framework is imported: layers follow from a graph's ops, from the config of a Keras file, or from
the names and shapes of weights.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.catalogue.manifest import Row
from ckpttool.core.errors import CkptError
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.formats.keras.layer_facts import KerasTensor, NetworkFacts
from ckpttool.formats.keras.network import read_network
from ckpttool.formats.tensorflow.prefix import is_saved_model
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.layer_kinds import known_layers
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.graph.contents.signatures import Argument, signature_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ACTIVATIONS
from ckpttool.graph.roles.resolve import certain_roles, compared_logits
from ckpttool.graph.roles.served import result_of
from ckpttool.lineage.storage import lineage_of
from ckpttool.model.graphs import graph_as_held
from ckpttool.model.resolve import as_graph_knows, graph_path, graph_that_keeps, is_copy, open_either, weight_scopes

LIBRARIES = {"keras": "keras", "ckpt": "tensorflow", "saved-model": "tensorflow", "frozen-graph": "tensorflow"}
"""The `library_name` of each family on a Hugging Face card."""

_SHAPES_KEPT = ACTIVATIONS | {"LogSoftmax", "Identity"}
"""Ops that preserve the shape between a layer and an output."""


@dataclass(frozen=True)
class Structure:
    """The layers of a model from the bottom, its inputs and its outputs, as rows of a manifest."""

    layers: Sequence[Row] = ()
    inputs: Sequence[Row] = ()
    outputs: Sequence[Row] = ()


@dataclass(frozen=True)
class Facts:
    """The facts about a model that are known without running it; `held` are the tensors to be hashed."""

    family: str
    held: checkpoint.Checkpoint
    tensors: Sequence[Row] = ()
    layers: Sequence[Row] = ()
    inputs: Sequence[Row] = field(default_factory=list)
    outputs: Sequence[Row] = field(default_factory=list)
    parameters: int = 0
    preprocess: str | None = None
    classes: Sequence[str] | None = None
    lineage: Row = field(default_factory=dict)
    library: str | None = None


def described(path: Path) -> Facts:
    """Describe a model.

    Raises:
        CkptError: nothing exists at the path, or it is not a model.
    """
    opened = open_either(path)
    held = checkpoint.Checkpoint.of({}) if isinstance(opened, Graph) else opened
    keeps = opened if isinstance(opened, Graph) else graph_that_keeps(held.path or path)
    family, graph = _family(path, held), _graph(opened)
    if graph is not None and held and OBJECT_GRAPH not in held:
        held = as_graph_knows(held, graph)
    structure = structure_of(path, held, graph)
    kinds = held.kinds()
    return Facts(
        family,
        held,
        [{**_spec(tensor), "kind": kinds[name]} for name, tensor in held.items()],
        structure.layers,
        structure.inputs,
        structure.outputs,
        sum(layer["parameters"] for layer in structure.layers),
        preprocessing_text(keeps) if keeps else None,
        list(class_names(keeps) or ()) or None if keeps else None,
        _lineage(path, held),
        LIBRARIES.get(family),
    )


def structure_of(path: Path, held: checkpoint.Checkpoint, graph: Graph | None) -> Structure:
    """Return the layers, inputs and outputs of a model, or the scopes of its weights if it has no readable network."""
    with suppress(CkptError):
        if graph is not None:
            return _of_graph(graph)
        if path.is_file() and is_whole_model(path):
            return _of_network(NetworkFacts.of(read_network(path).architecture), held)
    return Structure([_scope_row(held, name, own) for name, own in weight_scopes(held).items()])


def _graph(opened: checkpoint.Checkpoint | Graph) -> Graph | None:
    with suppress(CkptError):  # a model whose graph cannot be run can be stored, too
        return graph_as_held(opened)
    return None


def _of_graph(graph: Graph) -> Structure:
    layers = [layer.as_json() for layer in known_layers(graph) if not is_copy(layer.layer.name)]
    if signature := signature_named(graph):
        return Structure(layers, _signed(signature.inputs), _signed(signature.outputs))
    outputs = compared_logits(graph)
    if not outputs:
        with suppress(CkptError):  # there are several candidates
            outputs = [result_of(graph).tensor]
    shapes = {layer["output"]: layer["output_shape"] for layer in layers}
    sides = certain_roles(graph).inputs, outputs
    return Structure(layers, *([_tensor_row(graph, name, shapes) for name in names] for names in sides))


def _signed(arguments: Mapping[str, Argument]) -> list[Row]:
    return [
        {"name": key, "tensor": each.tensors[0], "shape": _sizes(each.shape), "dtype": str(each.dtype)}
        for key, each in arguments.items()
    ]


def _tensor_row(graph: Graph, name: str, shapes: Mapping[str, list[int | None] | None]) -> Row:
    ref = below = TensorRef.parse(name)
    while str(below) not in shapes and graph.nodes[below.op].op in _SHAPES_KEPT:
        below = graph.inputs(below.op)[0]
    shape = _sizes(known_shape(shape_of_output(graph, ref))) or shapes.get(str(below))
    own = ref.op if ref.index == 0 else str(ref)
    return {"name": own, "tensor": str(ref), "shape": shape, "dtype": str(dtype_of_output(graph, ref))}


def _of_network(network: NetworkFacts, held: checkpoint.Checkpoint) -> Structure:
    """Return the structure of a Keras file: the layers with their weights, in the order of the network."""
    order = {layer: number for number, layer in enumerate(network.layers)}
    rows = []
    for scope, names in weight_scopes(held).items():
        layer = network.layer_of(scope)
        known = {} if layer is None else {"kind": layer.kind, "output_shape": _sizes(layer.output_shape)}
        place = len(order) if layer is None else order[layer]
        rows.append((place, {**_scope_row(held, scope, names), **known}))
    layers = [row for _, row in sorted(rows, key=lambda each: each[0])]
    return Structure(layers, *([_keras_row(each) for each in side] for side in (network.inputs, network.outputs)))


def _keras_row(tensor: KerasTensor) -> Row:
    return {"name": tensor.name, "tensor": None, "shape": _sizes(tensor.shape), "dtype": tensor.dtype}


def _scope_row(held: checkpoint.Checkpoint, name: str, own: Sequence[str]) -> dict[str, Any]:
    """Return the row of a layer of which only the weights are known."""
    return {
        "name": name,
        "kind": None,
        "variables": list(own),
        "shapes": [list(held[each].shape) for each in own],
        "parameters": sum(held[each].spec.elements for each in own),
        "output": None,
        "output_shape": None,
    }


def _sizes(shape: Sequence[int | None] | None) -> list[int | None] | None:
    return None if shape is None else list(shape)


def _spec(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}


def _family(path: Path, held: checkpoint.Checkpoint) -> str:
    if path.is_dir() and is_saved_model(path):
        return "saved-model"
    if path.is_file() and is_whole_model(path):
        return "keras"
    if not held:
        return "graph"
    if graph_path(held.path) is None:
        return "weights"
    return "frozen-graph" if path.is_file() and registry.find(path).NAME == "frozen" else "ckpt"


def _lineage(path: Path, held: checkpoint.Checkpoint) -> Row:
    """Return the lineage of a model without arguments and local folders."""
    chain = lineage_of(held.path or path, held.metadata).as_json()
    for record in chain["records"]:
        del record["arguments"]
        for source in record["sources"]:
            source["path"] = Path(source["path"]).name
    return chain
