"""The layouts that can convert a source's arrays to a variable, by the shapes and the op that reads the variable."""

from collections.abc import Iterator, Mapping, Sequence

from ckpttool.layouts.attention import Attention
from ckpttool.layouts.conv import WINDOWS, Conv, Depthwise, Grouped, Transposed
from ckpttool.layouts.dense import Dense, Flatten, pointwise
from ckpttool.layouts.layout import Keep, Layout, Shape
from ckpttool.layouts.recurrent import Gru, Lstm

_MATRIX = ("flatten", "dense", "pointwise", "cell", "attention")

OPS: Mapping[str, tuple[str, ...]] = {
    "MatMul": _MATRIX,
    "BatchMatMulV2": _MATRIX,
    "Einsum": _MATRIX,
    "Conv2D": ("conv", "grouped", "pointwise"),
    "Conv3D": ("conv", "grouped", "pointwise"),
    "DepthwiseConv2dNative": ("depthwise",),
    "Conv2DBackpropInput": ("transposed",),
    "Conv3DBackpropInputV2": ("transposed",),
    "FusedBatchNorm": (),
    "FusedBatchNormV2": (),
    "FusedBatchNormV3": (),
    "BiasAdd": ("cell", "attention"),
    "Gather": (),
    "GatherV2": (),
    "ResourceGather": (),
}
"""The kinds of layout, besides `keep`, that apply to the variable that an op reads; for other ops, all kinds do."""

ALL = (*_MATRIX, "conv", "grouped", "depthwise", "transposed")

CELLS: tuple[Layout, ...] = (
    Lstm("torch", "tf1"),
    Lstm("torch", "keras"),
    Lstm("keras", "tf1"),
    Lstm("onnx", "tf1"),
    Lstm("onnx", "keras"),
    Gru("torch", "tf1_cudnn"),
    Gru("torch", "keras"),
    Gru("keras", "tf1_cudnn"),
    Gru("onnx", "tf1_cudnn"),
    Gru("onnx", "keras"),
    Gru("keras_reset_before", "tf1"),
)
ATTENTIONS: tuple[Layout, ...] = (
    Attention("torch", "tf1"),
    Attention("torch_split", "tf1"),
    Attention("torch_split", "tf1_joined"),
    Attention("keras", "tf1"),
    Attention("keras", "tf1_joined"),
    Attention("tf1_joined", "tf1"),
    Attention("tf1", "tf1_joined"),
)


def candidates(
    source_shapes: Sequence[Shape], target_shape: Shape, op_kind: str | None = None, channels: int = 0
) -> list[Layout]:
    """Return the layouts that convert the sources to the variable's shape, the most likely first.

    `channels`, the number of channels of an image that is flattened before the op, includes `flatten`. If an array fits
    both transposed and unchanged, as a square matrix does, the transposition comes first (PyTorch's layout) and `keep`
    last (Keras's); the other tensors of the file decide.

    >>> [str(layout) for layout in candidates([(300, 300)], (300, 300), "MatMul")]
    ['dense', 'keep']
    >>> [str(layout) for layout in candidates([(8, 1, 3, 3)], (3, 3, 4, 2), "DepthwiseConv2dNative")]
    ['depthwise(multiplier=2)']
    """
    kinds = OPS.get(op_kind or "", ALL)
    tried = [layout for kind in kinds for layout in _of_kind(kind, source_shapes, target_shape, channels)]
    return [layout for layout in [*tried, Keep()] if target_shape in layout.made_of(source_shapes)]


def _of_kind(kind: str, sources: Sequence[Shape], target: Shape, channels: int) -> Iterator[Layout]:
    """Yield the layouts of a kind, with options inferred from the two shapes."""
    windows = len(target) in WINDOWS and 0 not in target
    match kind:
        case "flatten" if channels > 0:
            yield Flatten(channels)
        case "dense":
            yield Dense()
        case "pointwise":
            yield from pointwise(sources[0], target)
        case "conv":
            yield Conv()
        case "grouped" if windows and len(sources[0]) == len(target) and target[-2] > sources[0][1] > 0:
            yield Grouped(target[-2] // sources[0][1])
        case "depthwise" if windows:
            yield Depthwise(target[-1])
        case "transposed":
            yield Transposed()
        case "cell":
            yield from CELLS
        case "attention":
            yield from ATTENTIONS
            if len(target) == 3 and target[1] > 0:
                yield from (Attention(source, "keras", target[1]) for source in ("torch", "torch_split", "tf1"))
