"""Kinds of layers, in Keras's terms: `dense`, `conv2d`.

They are identified by the ops that combine a layer's weights with the rows, and by the weights' shapes if several
kinds use the same op. If weights are only added or multiplied, their names are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import FormatError, UnknownName
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.graph.contents.layers import Layer, layers, weight_uses
from ckpttool.graph.contents.op_outputs import known_shape, shape_of_output
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.contents.weight_uses import WeightUses
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import LOOPS

Shape = tuple[int, ...]
_MULTIPLIES = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "SparseMatMul", "Einsum", "XlaDot"})
_LOOKS_UP = frozenset({"Gather", "GatherV2", "ResourceGather", "GatherNd", "ResourceGatherNd"})
_BY_OP = {
    "Conv3D": "conv3d",
    "Conv3DBackpropInput": "conv3d_transpose",
    "Conv3DBackpropInputV2": "conv3d_transpose",
    "BlockLSTM": "lstm",
    "BlockLSTMV2": "lstm",
    "LSTMBlockCell": "lstm",
    "GRUBlockCell": "gru",
}
_ADDS_ALONE = frozenset({"Add", "AddV2", "BiasAdd", "BiasAddV1"})
_BY_GATES = {4: "lstm", 3: "gru", 1: "simple_rnn"}
"""Recurrent layers by their number of gates: the kernel's columns divided by the units."""
_CUDNN = {b"lstm": "lstm", b"": "lstm", b"gru": "gru"}
_AVERAGES = frozenset({"moving_mean", "moving_variance", "running_mean", "running_var"})
_SCALES = frozenset({"gamma", "beta", "scale", "offset", "weight", "bias"})


@dataclass(frozen=True)
class KnownLayer:
    """A layer with its kind, the shapes of its variables (in order), and of its output; unknown ones are None."""

    layer: Layer
    kind: str | None
    shapes: tuple[Shape | None, ...]
    output_shape: tuple[int | None, ...] | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        shapes = [None if shape is None else list(shape) for shape in self.shapes]
        return {
            "name": self.layer.name,
            "kind": self.kind,
            "variables": list(self.layer.variables),
            "shapes": shapes,
            "parameters": self.layer.parameters,
            "output": self.layer.output,
            "output_shape": None if self.output_shape is None else list(self.output_shape),
        }


@cached
def known_layers(graph: Graph) -> Sequence[KnownLayer]:
    """Return the layers in data-flow order, each with its kind and shapes."""
    uses, shapes = weight_uses(graph), _shapes(graph)
    found = []
    for layer in layers(graph):
        own = [shapes.get(name) for name in layer.variables]
        kind = _Kinds(uses, shapes, layer.name).kind()
        found.append(KnownLayer(layer, kind, tuple(own), _output_shape(graph, layer, kind, own)))
    return found


def _shapes(graph: Graph) -> Mapping[str, Shape | None]:
    """Return the shapes of a graph's weights, by their names in the checkpoint and by their ops."""
    held = variables(graph).values()
    shapes = {name: each.full_shape or each.shape for each in held for name in (each.op, each.name)}
    for weight in weight_uses(graph).weights.values() if not held else ():
        shapes[weight.op] = shapes[weight.name] = shape_of(graph.nodes[weight.op].attr["value"].tensor)
    return shapes


class _Kinds:
    """Determines the kind of one layer from the ops and shapes of its weights."""

    def __init__(self, uses: WeightUses, shapes: Mapping[str, Shape | None], layer: str) -> None:
        self.layer, nodes = layer, uses.graph.nodes
        self.weights = {weight.name: shapes.get(weight.op) for weight in uses.members[layer]}
        ops = {weight.name: uses.meetings(weight.op) for weight in uses.members[layer]}
        self.met = {name: {nodes[op].op for op in each} for name, each in ops.items()}
        self.found = set[str]().union(*self.met.values())
        self.loops = any(uses.in_loop(op) for each in ops.values() for op in each) or bool(self.found & LOOPS)
        self.modes = [
            nodes[op].attr["rnn_mode"].s for each in ops.values() for op in each if "rnn_mode" in nodes[op].attr
        ]

    def kind(self) -> str | None:
        """Return the first kind that matches, or None."""
        return self._recurrent() or self._convolution() or self._product() or self._addition() or self._scaling()

    def _recurrent(self) -> str | None:
        """Return the kind of a layer in a loop: by the shape of a recurrent kernel, else by its name; or None."""
        if self.modes:
            return _CUDNN.get(self.modes[0], "simple_rnn")
        for name, shape in self.weights.items() if self.loops else ():
            match shape:
                case (units, columns) if units and columns % units == 0 and "recurrent" in name:
                    return _BY_GATES.get(columns // units)
        words = {"lstm": "lstm", "gru": "gru", "rnn": "simple_rnn"} if self.loops else {}
        return next((kind for word, kind in words.items() if word in self.layer.lower()), None)

    def _convolution(self) -> str | None:
        rank = "1d" if any(shape and len(shape) == 3 for shape in self.weights.values()) else "2d"
        if "DepthwiseConv2dNative" in self.found:
            return f"separable_conv{rank}" if "Conv2D" in self.found else f"depthwise_conv{rank}"
        if "Conv2DBackpropInput" in self.found:
            return f"conv{rank}_transpose"
        return f"conv{rank}" if "Conv2D" in self.found else None

    def _product(self) -> str | None:
        if any(op.startswith("FusedBatchNorm") for op in self.found):
            return "batch_normalization"
        if self.found & _MULTIPLIES:
            ranks = [len(self.weights[name] or ()) for name, met in self.met.items() if met & _MULTIPLIES]
            return "einsum_dense" if "Einsum" in self.found and max(ranks) > 2 else "dense"
        if self.found & _LOOKS_UP:
            return "embedding"
        return next((_BY_OP[op] for op in sorted(self.found) if op in _BY_OP), None)

    def _addition(self) -> str | None:
        """Return `bias` if the layer is a single vector that is only added, else None."""
        ranks = [len(shape or ()) for shape in self.weights.values()]
        return "bias" if ranks == [1] and self.found and self.found <= _ADDS_ALONE else None

    def _scaling(self) -> str | None:
        """Return the kind of a layer that only scales and shifts, or has a slope, by its weights' names; or None."""
        own = {name.rpartition("/")[2] for name in self.weights}
        if own & _AVERAGES:
            return "batch_normalization"
        if own == {"alpha"}:
            return "p_re_lu"
        return "layer_normalization" if own & {"gamma", "scale"} and own <= _SCALES else None


def _output_shape(
    graph: Graph, layer: Layer, kind: str | None, shapes: Sequence[Shape | None]
) -> tuple[int | None, ...] | None:
    """Return the static shape of a layer's output, else the shape that its kernel implies, or None."""
    if layer.output is None:
        return None
    ref = TensorRef.parse(layer.output)
    try:
        noted = known_shape(shape_of_output(graph, ref))
    except (UnknownName, FormatError):
        noted = None
    if noted is not None:
        return noted
    kernel = next((shape for shape in shapes if shape and len(shape) > 1), None)
    if kernel is None or kind not in ("dense", "conv1d", "conv2d", "conv3d"):
        return None
    return (*[None] * (len(kernel) - 1), kernel[-1])
