"""Flattened images: how many channels the image has whose pixels are the units before a dense layer.

PyTorch flattens `[channels, height, width]`, TensorFlow `[height, width, channels]`. The number of channels therefore
determines the order of a kernel's rows, and of what is multiplied with the units or added to them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ckpttool.core.dtypes import BY_NAME
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.op_outputs import known_shape
from ckpttool.graph.contents.static_shapes import static_shape
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import BROADCASTING, ELEMENT_BY_ELEMENT, ELEMENTWISE, JOINS, NONLINEAR, PLACEHOLDERS, SELECTS

CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})
_TRANSPOSED = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})
_DEPTHWISE = "DepthwiseConv2dNative"
_EVERY = CONVOLUTIONS | _TRANSPOSED | {_DEPTHWISE}
_FLATTENS = frozenset({"Reshape", "Flatten"})
_ENDS = frozenset(
    {
        *("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "SparseMatMul", "Einsum"),
        *("Mean", "Max", "Sum", "ArgMax", "Gather", "GatherV2", "ResourceGather"),
    }
)
"""Ops after which there is no image any more: units, channels alone, or rows of a table."""
_KEEPS = (
    ELEMENTWISE
    | BROADCASTING
    | NONLINEAR
    | SELECTS
    | {
        *("BiasAdd", "BiasAddV1", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "AddN", "ClipByValue"),
        *("MaxPoolV2", "MaxPool3D", "AvgPool3D", "MaxPoolWithArgmax", "Pad", "PadV2", "MirrorPad", "IdentityN"),
        *("SpaceToBatchND", "BatchToSpaceND", "Switch", "RefSwitch", "Merge", "EnsureShape", "Squeeze", "ExpandDims"),
        *("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "FakeQuantWithMinMaxVars", "PreventGradient"),
        *("FakeQuantWithMinMaxArgs", "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4"),
    }
)
"""Ops that keep the channels of an image in their places."""
_BOOL = BY_NAME["bool"].number
_COLOURS = 4
"""Maximum number of channels of a photograph, which tells where a placeholder has them."""


class _Image(NamedTuple):
    """The number of channels of an image, 0 where there is none, and whether they are the last dimension."""

    channels: int
    last: bool = True


NO_IMAGE = _Image(0)


def flattened_channels(graph: Graph, units: TensorRef) -> int | None:
    """Return the number of channels, the last dimension, of the flattened image that `units` are.

    It is 0 if they are not of an image, or of one with its channels first, as in PyTorch; None if it cannot be told.
    """
    seen: set[str] = set()
    while units.op in graph.nodes and units.op not in seen:
        seen.add(units.op)
        node, inputs = graph.nodes[units.op], graph.inputs(units.op)
        if node.op in _FLATTENS and inputs and (grouped := _grouped_units(graph, inputs[0])):
            units = grouped
            continue
        if node.op in _FLATTENS and inputs:
            image = _image(graph, inputs[0], frozenset())
            return None if image is None else image.channels * image.last
        if node.op in _ENDS | _EVERY or not inputs:
            break
        if node.op in JOINS:
            joined = [flattened_channels(graph, ref) for ref in _joined(graph, units.op)[0]]
            return None if any(channels != 0 for channels in joined) else 0
        units = next((ref for ref in inputs if ref.op in fed_ops(graph)), inputs[0])
    return 0


def _grouped_units(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the units that a tensor has in groups, as in a group normalisation of units; None if it is another one."""
    seen: set[str] = set()
    while ref.op in graph.nodes and graph.nodes[ref.op].op in ELEMENT_BY_ELEMENT and ref.op not in seen:
        seen.add(ref.op)
        ref = next((each for each in graph.inputs(ref.op) if each.op in fed_ops(graph)), ref)
    if ref.op not in graph.nodes or graph.nodes[ref.op].op != "Reshape":
        return None
    units, shape = graph.inputs(ref.op)
    sizes = numbers(graph.nodes[shape.op]) if shape.op in graph.nodes else None
    is_grouped = sizes is not None and sizes.size == 3 and _image(graph, units, frozenset()) == NO_IMAGE
    return units if is_grouped else None


@cached
def fed_ops(graph: Graph) -> frozenset[str]:
    """Return the ops that compute with the rows that are fed, not with their means alone, as of a normalisation."""
    fed = [node.name for node in graph.nodes.values() if node.op in PLACEHOLDERS and node.attr["dtype"].type != _BOOL]
    return frozenset(graph.descendants(fed, but={"Mean"}))


def _image(graph: Graph, ref: TensorRef, seen: frozenset[str]) -> _Image | None:
    """Return the image that a tensor is, None if its channels cannot be told."""
    if ref.op not in graph.nodes or ref.op in seen or graph.nodes[ref.op].op in _ENDS:
        return NO_IMAGE
    node, inputs, seen = graph.nodes[ref.op], graph.inputs(ref.op), seen | {ref.op}
    if node.op in _EVERY or not inputs:
        return _convolved(graph, ref.op) if node.op in _EVERY else _fed(graph, ref.op)
    if node.op in _RESHAPES:
        return _RESHAPES[node.op](graph, ref.op, seen)
    if node.op in _KEEPS or (node.op == "StridedSlice" and _keeps_the_last(graph, ref.op)):
        images = (_image(graph, each, seen) for each in inputs)
        return next((image for image in images if image is None or image.channels), NO_IMAGE)
    has_convolution = any(graph.nodes[op].op in _EVERY for op in graph.ancestors(ref.op) if op in graph.nodes)
    return None if has_convolution else NO_IMAGE


def _convolved(graph: Graph, name: str) -> _Image | None:
    """Return the image that a convolution makes."""
    node, inputs = graph.nodes[name], graph.inputs(name)
    below = graph.ancestors(inputs[1].op)
    stored = [each.shape for each in stored_tensors(graph).values() if any(v.op in below for v in each.members)]
    kernels = [shape for shape in stored if shape and len(shape) > 3] or stored[:1] * (len(stored) == 1)
    shape = kernels[0] if len(kernels) == 1 else static_shape(graph, inputs[1])
    if not shape or len(shape) < 3:
        return None
    channels = shape[-2] * shape[-1] if node.op == _DEPTHWISE else shape[-2 if node.op in _TRANSPOSED else -1]
    first = "data_format" in node.attr and node.attr["data_format"].s.startswith(b"NC")
    return _Image(channels, not first) if channels > 0 else None


def _fed(graph: Graph, name: str) -> _Image:
    """Return the image that a placeholder is, if it has the rank of one."""
    node = graph.nodes[name]
    shape = known_shape(node.attr["shape"].shape) if node.op in PLACEHOLDERS and "shape" in node.attr else None
    if not shape or len(shape) < 4 or shape[-1] is None:
        return NO_IMAGE
    first = shape[1] is not None and shape[1] <= _COLOURS < shape[-1]
    return _Image(shape[1] or 0, last=False) if first else _Image(shape[-1])


def _reshaped(graph: Graph, name: str, seen: frozenset[str]) -> _Image | None:
    """Return the image that a reshape makes: with the last of its sizes, or those of what it reads."""
    inputs = graph.inputs(name)
    sizes = numbers(graph.nodes[inputs[1].op]) if inputs[1].op in graph.nodes else None
    last = int(sizes[-1]) if sizes is not None and sizes.size > 2 else 0
    return _Image(last) if last > 0 else _image(graph, inputs[0], seen)


def _transposed(graph: Graph, name: str, seen: frozenset[str]) -> _Image | None:
    """Return an image after a transpose, which may move its channels to the other end."""
    inputs = graph.inputs(name)
    image, order = _image(graph, inputs[0], seen), numbers(graph.nodes[inputs[1].op])
    if image is None or not image.channels or order is None:  # that of tensordot is computed, and changes nothing
        return image
    axes, rank = order.tolist(), order.size
    if axes == sorted(axes):
        return image
    to_first, to_last = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    return _Image(image.channels, not image.last) if axes == (to_first if image.last else to_last) else None


def _joined(graph: Graph, name: str) -> tuple[Sequence[TensorRef], int | None]:
    """Return the inputs of a concatenation, and its axis, if that is constant."""
    inputs, first = graph.inputs(name), graph.nodes[name].op == "Concat"
    axis = numbers(graph.nodes[inputs[0 if first else -1].op])
    return inputs[1:] if first else inputs[:-1], None if axis is None else int(axis)


def _concatenated(graph: Graph, name: str, seen: frozenset[str]) -> _Image | None:
    """Return the image that a concatenation makes: of channels, or of images side by side."""
    inputs, axis = _joined(graph, name)
    images = [_image(graph, ref, seen) for ref in inputs]
    known = [image for image in images if image is not None]
    if len(known) < len(images) or len({(bool(image.channels), image.last) for image in known}) > 1:
        return None
    image = known[0]
    if not image.channels:
        return NO_IMAGE
    if axis in ((-1, 3, 4) if image.last else (1,)):
        return _Image(sum(each.channels for each in known), image.last)
    return image if axis == 1 and image.last else None


def _keeps_the_last(graph: Graph, name: str) -> bool:
    """Return whether a slice takes all of the last dimension: it is cropped in others."""
    node = graph.nodes[name]
    begin = numbers(graph.nodes[graph.inputs(name)[1].op])
    if begin is None or begin.size < 3:
        return begin is not None
    bit = 1 << (begin.size - 1)
    return bool(node.attr["begin_mask"].i & bit and node.attr["end_mask"].i & bit)


_RESHAPES = {"Reshape": _reshaped, "Transpose": _transposed, **dict.fromkeys(JOINS, _concatenated)}
"""What becomes of an image in ops that change its dimensions."""
