"""What comes out of an op: the element type and, where the graph says it, the shape."""

from collections.abc import Mapping

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import DType, dtype_numbered
from ckpttool.core.errors import UnknownName
from ckpttool.core.shapes import PartialShape
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef, OpDef, TensorShapeProto
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import PLACEHOLDERS


def dtype_of_output(graph: Graph, ref: TensorRef) -> DType:
    """Return the element type of an op's output, by the definition of the op that came with the graph.

    Where none came, the op's attributes are asked.

    Raises:
        UnknownName: there is no such op, or it has not that many outputs.
        FormatError: the dtype's number is unknown.
    """
    node = graph.op(ref.op)
    definition = _definitions(graph).get(node.op)
    if definition is None:
        return dtype_numbered(_noted(node, ref.index))
    defaults: dict[str, int] = {attribute.name: attribute.default_value.type for attribute in definition.attr}
    position = ref.index  # among the tensors of the arguments still to come, of which one may stand for several
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
    """Return the shape that the graph notes for an op's output; one of unknown rank where it notes none."""
    node = graph.op(ref.op)
    noted = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    if ref.index < len(noted):
        return noted[ref.index]
    shape = node.attr["shape"].shape if node.op in PLACEHOLDERS and "shape" in node.attr else None
    return shape if shape is not None and shape.dim else TensorShapeProto(unknown_rank=True)


def known_shape(shape: TensorShapeProto) -> PartialShape | None:
    """Return the sizes that a message says, None where it does not even say how many there are."""
    return None if shape.unknown_rank else tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)


def _noted(node: NodeDef, index: int) -> int:
    """Return the dtype's number of an output, as far as the op's attributes say it; float32 where they do not."""
    for key in ("T", "dtype", "DstT", "out_type", "output_type"):
        if key in node.attr and node.attr[key].type:
            return node.attr[key].type
    for key in ("Tout", "output_types", "T"):
        if key in node.attr and index < len(node.attr[key].list.type):
            return node.attr[key].list.type[index]
    return 1
