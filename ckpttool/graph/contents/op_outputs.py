"""Outputs of ops: the dtype and, if the graph specifies it, the static shape."""

from collections.abc import Mapping

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import DType, dtype_numbered
from ckpttool.core.errors import UnknownName
from ckpttool.core.shapes import PartialShape
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, OpDef, TensorShapeProto
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import PLACEHOLDERS


def dtype_of_output(graph: Graph, ref: TensorRef) -> DType:
    """Return the dtype of an op's output, by the op definition in the graph's header, else by the op's attributes.

    Raises:
        UnknownName: there is no such op, or it has fewer outputs.
        FormatError: the dtype's number is unknown.
    """
    node = graph.op(ref.op)
    definition = _definitions(graph).get(node.op)
    if definition is None:
        return dtype_numbered(_noted(node, ref.index))
    defaults: dict[str, int] = {attribute.name: attribute.default_value.type for attribute in definition.attr}
    position = ref.index  # relative to the remaining output arguments, each of which may be several tensors
    for argument in definition.output_arg:
        listed = node.attr[argument.type_list_attr].list.type if argument.type_list_attr else None
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        count = count if listed is None else len(listed)
        if position < count:
            key = argument.type_attr
            single = argument.type or (node.attr[key].type if key in node.attr else defaults.get(key, 0))
            return dtype_numbered(single if listed is None else listed[position])
        position -= max(count, 0)
    raise UnknownName(
        f"{graph.source}: {ref}: {ref.op} is a {node.op}, which has {counted(ref.index - position, 'output')}"
    )


@cached
def _definitions(graph: Graph) -> Mapping[str, OpDef]:
    return {definition.name: definition for definition in reversed(graph.header.meta_info_def.stripped_op_list.op)}


def shape_of_output(graph: Graph, ref: TensorRef) -> TensorShapeProto:
    """Return the static shape of an op's output in the graph; of unknown rank if the graph does not specify it."""
    node = graph.op(ref.op)
    noted = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    if ref.index < len(noted):
        return noted[ref.index]
    shape = node.attr["shape"].shape if node.op in PLACEHOLDERS and "shape" in node.attr else None
    return shape if shape is not None and shape.dim else TensorShapeProto(unknown_rank=True)


def known_shape(shape: TensorShapeProto) -> PartialShape | None:
    """Return a shape's sizes, None for unknown ones; None if the rank is unknown."""
    return None if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)


def _noted(node: NodeDef, index: int) -> int:
    """Return the dtype (by number) of an output by the op's attributes; that of float32 if these do not specify it."""
    for key in ("T", "dtype", "DstT", "out_type", "output_type"):
        if key in node.attr and node.attr[key].type:
            return node.attr[key].type
    for key in ("Tout", "output_types", "T"):
        if key in node.attr and index < len(node.attr[key].list.type):
            return node.attr[key].list.type[index]
    return 1
