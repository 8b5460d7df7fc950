"""Signatures: the named inputs and outputs of a SavedModel."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.dtypes import DType, dtype_numbered
from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed
from ckpttool.core.shapes import PartialShape
from ckpttool.core.suggestions import suggestion
from ckpttool.formats.wire.protos.graph_pb2 import TensorShapeProto
from ckpttool.formats.wire.protos.meta_graph_pb2 import SignatureDef, TensorInfo
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.core import Graph

DEFAULT = "serving_default"
"""The signature that callers take where they name none."""
_CHOSEN = "ckpttool/signature"
"""The collection with the name of the signature that was chosen instead."""
_INPUTS = "ckpttool/input_names"
"""The collection with the signature's names of inputs, for a graph whose signatures were removed: `images=X:0`."""


@dataclass(frozen=True)
class Argument:
    """An input or output of a signature: its tensors (three if it is sparse), dtype, and shape (None if unknown)."""

    tensors: tuple[str, ...]
    dtype: DType
    shape: PartialShape | None


@dataclass(frozen=True)
class Signature:
    """A way to call a model, such as `serving_default`."""

    name: str
    method: str
    inputs: Mapping[str, Argument]
    outputs: Mapping[str, Argument]


def signatures(graph: Graph) -> dict[str, Signature]:
    """Return the graph's signatures by name, without TensorFlow's own marker `__saved_model_init_op`.

    Raises:
        FormatError: a dtype's number is unknown.
    """
    definitions = graph.header.signature_def
    return {name: _signature(name, definitions[name]) for name in signature_names(graph)}


def signature_names(graph: Graph) -> list[str]:
    """Return the names of the graph's signatures."""
    return sorted(name for name in graph.header.signature_def if not name.startswith("__saved_model_"))


def called_name(graph: Graph, name: str = DEFAULT) -> str | None:
    """Return the first existing signature of: `name` (unless it is the default), the chosen, the default, the only."""
    named, chosen = signature_names(graph), _texts(graph, _CHOSEN)
    first = [name] if name != DEFAULT else []
    only = named if len(named) == 1 else []
    return next((each for each in (*first, *chosen, DEFAULT, *only) if each in named), None)


def signature_named(graph: Graph, name: str = DEFAULT) -> Signature | None:
    """Return the signature that `called_name` selects, or None."""
    found = called_name(graph, name)
    return _signature(found, graph.header.signature_def[found]) if found else None


def choosing_signature(graph: Graph, name: str) -> Graph:
    """Return the graph with a signature chosen, to be called if no other is named.

    Raises:
        UnknownName: the graph has no such signature.
    """
    named = signature_names(graph)
    if name not in named:
        found = f"it has {listed(named)}" if named else "it has none"
        raise UnknownName(f"{graph.source}: no signature {name}: {found}{suggestion(name, named)}")
    header = graph.header_copy()
    header.collection_def[_CHOSEN].bytes_list.value[:] = [name.encode()]
    return graph.having(header=header)


def with_input_shapes(graph: Graph, shapes: Mapping[str, PartialShape | None]) -> Graph:
    """Return the graph with other input shapes in its signatures, and an open row count of an input also in outputs."""
    header = graph.header_copy()
    for signature in header.signature_def.values():
        for info in signature.inputs.values():
            before, shape = known_shape(info.tensor_shape), shapes.get(info.name)
            if shape and shape != before:
                info.tensor_shape.CopyFrom(TensorShapeProto())
                for size in shape:
                    info.tensor_shape.dim.add(size=-1 if size is None else size)
                first = [dim for output in signature.outputs.values() for dim in output.tensor_shape.dim[:1]]
                for dim in first if shape[0] is None else ():
                    dim.size = -1 if before and dim.size == before[0] else dim.size
    return graph.having(header=header)


def output_tensors(graph: Graph) -> list[str]:
    """Return the output tensors of all signatures, without duplicates."""
    arguments = [argument for signature in signatures(graph).values() for argument in signature.outputs.values()]
    return list(dict.fromkeys(tensor for argument in arguments for tensor in argument.tensors))


def input_keys(graph: Graph, tensor: str) -> list[str]:
    """Return the input names of a tensor in the signatures, beginning with the signature that is called."""
    called = signature_named(graph)
    every = [*([called] if called else []), *signatures(graph).values()]
    keys = [key for each in every for key, given in each.inputs.items() if tensor in given.tensors]
    kept = (text.partition("=") for text in _texts(graph, _INPUTS))
    return list(dict.fromkeys([*keys, *(key for key, _, named in kept if named == tensor)]))


def without_signatures(graph: Graph) -> Graph:
    """Return the graph without signatures, because its output has changed; a collection keeps the inputs' names."""
    signature, header = signature_named(graph), graph.header_copy()
    header.ClearField("signature_def")
    header.collection_def.pop(_CHOSEN, None)
    if signature and signature.inputs:
        names = [f"{key}={tensor}" for key, given in signature.inputs.items() for tensor in given.tensors[:1]]
        header.collection_def[_INPUTS].bytes_list.value[:] = [name.encode() for name in names]
    return graph.having(header=header)


def _texts(graph: Graph, key: str) -> list[str]:
    """Return the strings in a collection."""
    if key not in graph.header.collection_def:
        return []
    return [each.decode("utf-8", "replace") for each in graph.header.collection_def[key].bytes_list.value]


def input_arguments(graph: Graph) -> dict[str, Argument]:
    """Return the signatures' inputs by tensor: placeholders, or tensors that are computed if they are not fed."""
    arguments = [argument for signature in signatures(graph).values() for argument in signature.inputs.values()]
    return {tensor: argument for argument in arguments if len(argument.tensors) == 1 for tensor in argument.tensors}


def _signature(name: str, definition: SignatureDef) -> Signature:
    inputs, outputs = (
        {key: _argument(info) for key, info in sorted(side.items())} for side in (definition.inputs, definition.outputs)
    )
    return Signature(name, definition.method_name, inputs, outputs)


def _argument(info: TensorInfo) -> Argument:
    """Read one input or output."""
    sparse = info.coo_sparse
    names = (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
    tensors = names if info.WhichOneof("encoding") == "coo_sparse" else (info.name,)
    return Argument(tensors, dtype_numbered(info.dtype), known_shape(info.tensor_shape))
