"""The two sides of a sample: what it feeds to a graph, and what it is compared with there, as far as can be told."""

from collections.abc import Mapping

from ckpttool.core.errors import DataError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.core.shapes import agrees, shown
from ckpttool.core.tensors import STRING, Tensor
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.roles.roles import certain_roles


def sides(graph: Graph, sample: Mapping[str, Tensor]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the placeholders that a sample feeds, and the tensors that it is compared with, by its names.

    Raises:
        UnknownName: an array has the name of nothing in the graph.
        DataError: there is nothing to feed, or nothing to compare; an array is empty, or has no numbers to compare; a
            shape or a dtype is not that of its tensor, as far as the graph says it.
    """
    fed = {name: TensorRef.parse(name).op for name in sample if _is_placeholder(graph, name)}
    compared = _ordered(graph, {name: _tensor(graph, name) for name in sample if name not in fed})
    if not fed or not compared:
        inputs = ", ".join(certain_roles(graph).inputs)
        raise DataError(
            f"the sample has {', '.join(sample) or 'nothing'}: expected rows under a placeholder's name ({inputs}) "
            "and what a layer or op computes of them under its name"
        )
    for name in sample:
        if 0 in sample[name].shape:
            raise DataError(f"the sample's {name} is {list(sample[name].shape)}: nothing to compare")
    needed = graph.ancestors(*(TensorRef.parse(tensor).op for tensor in compared.values()))
    for name, op in ((name, op) for name, op in fed.items() if op in needed):
        _check_fed(graph, sample[name], TensorRef(op, 0))
    for name, tensor in compared.items():
        _check_compared(graph, sample[name], TensorRef.parse(tensor))
    return fed, compared


def _ordered(graph: Graph, tensors: Mapping[str, str]) -> dict[str, str]:
    places = {op: place for place, op in enumerate(graph.nodes)}
    return dict(sorted(tensors.items(), key=lambda item: places[TensorRef.parse(item[1]).op]))


def _is_placeholder(graph: Graph, name: str) -> bool:
    op = TensorRef.parse(name).op
    return op in graph.nodes and graph.nodes[op].op in PLACEHOLDERS


def _tensor(graph: Graph, name: str) -> str:
    """Return the tensor that a name means: of an op, of one of its outputs, or of a layer."""
    ref = TensorRef.parse(name)
    if ref.op in graph.nodes:
        return str(ref)
    outputs = {layer.name: layer.output for layer in layers(graph) if layer.output}
    if name not in outputs:
        names = [*outputs, *graph.nodes]
        raise UnknownName(
            f"{graph.source}: the sample's {name} is no placeholder, layer or op{suggestion(name, names)}"
        )
    return outputs[name]


def _check_fed(graph: Graph, array: Tensor, ref: TensorRef) -> None:
    """Refuse rows that a placeholder does not take.

    Raises:
        DataError: the dtype is another, or the shape.
    """
    dtype, shape = dtype_of_output(graph, ref), known_shape(shape_of_output(graph, ref))
    if array.dtype is not dtype or not agrees(array.shape, shape):
        takes = f"{dtype}" if shape is None else f"{dtype} {shown(shape)}"
        raise DataError(f"the sample's {array.name} is {array.dtype} {list(array.shape)}, {ref} takes {takes}")


def _check_compared(graph: Graph, array: Tensor, ref: TensorRef) -> None:
    """Refuse what cannot be compared with a tensor; the channels may come first.

    Raises:
        DataError: it is text, truth values or complex numbers where the tensor is not, or its shape is another.
    """
    shape = known_shape(shape_of_output(graph, ref))
    if array.dtype is STRING:
        raise DataError(f"the sample's {array.name} is text, expected numbers")
    if graph.header.meta_info_def.stripped_op_list.op:  # else the dtype would be a guess
        dtype = dtype_of_output(graph, ref)
        if dtype is not array.dtype and not (dtype.is_number and array.dtype.is_number):
            raise DataError(f"the sample's {array.name} is {array.dtype}, {ref} is {dtype}")
    last = (*array.shape[:1], *array.shape[2:], *array.shape[1:2]) if len(array.shape) > 2 else array.shape
    if not agrees(array.shape, shape) and not agrees(last, shape):
        raise DataError(f"the sample's {array.name} is {list(array.shape)}, {ref} is {shown(shape or ())}")
