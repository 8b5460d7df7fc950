"""Signatures: the named inputs and outputs that a SavedModel offers to its callers."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.shapes import PartialShape
from ckpttool.core.tensors import DType, dtype_numbered
from ckpttool.formats.wire.protos.meta_graph_pb2 import TensorInfo
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.core import Graph

DEFAULT = "serving_default"
"""The signature that callers take where they name none."""


@dataclass(frozen=True)
class Argument:
    """An input or output of a signature: its tensors (three where it is sparse), dtype, and shape with None unknown."""

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
    """Return the graph's signatures by name; TensorFlow's own marker `__saved_model_init_op` is none.

    Raises:
        FormatError: a dtype's number is unknown.
    """
    named = {}
    for name, definition in sorted(graph.header.signature_def.items()):
        if not name.startswith("__saved_model_"):
            sides = [
                {key: _argument(info) for key, info in sorted(side.items())}
                for side in (definition.inputs, definition.outputs)
            ]
            named[name] = Signature(name, definition.method_name, *sides)
    return named


def signature_named(graph: Graph, name: str = DEFAULT) -> Signature | None:
    """Return the signature of a name, else the default one, else the only one; None where there are others, or none."""
    named = signatures(graph)
    only = next(iter(named.values())) if len(named) == 1 else None
    return named.get(name) or named.get(DEFAULT) or only


def output_tensors(graph: Graph) -> list[str]:
    """Return the tensors that the signatures give, each once."""
    arguments = [argument for signature in signatures(graph).values() for argument in signature.outputs.values()]
    return list(dict.fromkeys(tensor for argument in arguments for tensor in argument.tensors))


def input_arguments(graph: Graph) -> dict[str, Argument]:
    """Return what the signatures take, by tensor: placeholders, or what is computed of one when it is not fed."""
    arguments = [argument for signature in signatures(graph).values() for argument in signature.inputs.values()]
    return {tensor: argument for argument in arguments if len(argument.tensors) == 1 for tensor in argument.tensors}


def _argument(info: TensorInfo) -> Argument:
    """Read one input or output."""
    sparse = info.coo_sparse
    names = (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
    tensors = names if info.WhichOneof("encoding") == "coo_sparse" else (info.name,)
    return Argument(tensors, dtype_numbered(info.dtype), known_shape(info.tensor_shape))
