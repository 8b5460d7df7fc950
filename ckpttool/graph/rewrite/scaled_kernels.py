"""Folding scales and shifts of a convolution's outputs, such as a batch norm in inference mode, into its kernel.

    conv(x, kernel) * s + c  =  conv(x, kernel * s) + c

The results are equal up to rounding. A runtime can then fuse the addition of `c` and an activation into the
convolution, instead of an additional pass over the outputs for each.
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from ckpttool.core.dtypes import BY_NAME, DType, dtype_numbered
from ckpttool.core.tensors import Array
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.averaged_norms import FUSED_EPSILON
from ckpttool.graph.contents.batch_norms import mixes_rows
from ckpttool.graph.contents.constants import constant, numbers
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import BROADCASTING, ENTERS, READS, SWITCHES, VARIABLES
from ckpttool.graph.rewrite.draft import (
    Draft,
    control_inputs,
    copy_of,
    input_text,
    make_identity,
    set_inputs,
    type_attr,
)
from ckpttool.graph.rewrite.prune import subgraph

_CHANNEL_AXES = {"Conv2D": (3,), "Conv3D": (4,), "DepthwiseConv2dNative": (2, 3), "Conv2DBackpropInput": (2,)}
"""The dimensions of a kernel that are the output channels, by the type of convolution."""
_CHANNELS_LAST = frozenset({b"", b"NHWC", b"NDHWC"})
_DTYPES = frozenset({"float32", "float64"})
"""The dtypes in which an additional rounding of the kernel is negligible."""
_UNARY = READS | {"StopGradient", "Cast", "Rsqrt", "Sqrt", "Square", "Neg", "Reciprocal", "Inv"}
_SUMS = frozenset({"Add", "AddV2", "BiasAdd", "Sub"})
_PRODUCTS = frozenset({"Mul", "RealDiv"})
_FROM_THE_LEFT = frozenset({"Sub", "RealDiv", "BiasAdd"})
_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SQUEEZE = "Squeeze"
"""The op after a 1-D convolution, which TensorFlow computes as a 2-D convolution of images with a height of 1."""
_INT32 = BY_NAME["int32"]

Shape = tuple[int, ...]


class _Step(NamedTuple):
    """An op that scales or shifts each channel by `by`, which is None for a fused normalisation and a squeeze."""

    name: str
    kind: str
    by: TensorRef | None


def with_scaled_kernels(graph: Graph, wanted: Collection[str], fed: Collection[str] = ()) -> Graph:
    """Return a part of a graph in which scales of convolutions' outputs are folded into the kernels.

    Outputs with several readers are not changed. `wanted` are the tensors or ops that will be computed, `fed` the
    tensors that will be fed.
    """
    scaling = _Scaling(graph, wanted)
    scaled = scaling.done([name for name, node in graph.nodes.items() if node.op in _CHANNEL_AXES])
    return scaled if scaled is graph else subgraph(scaled, list(wanted), fed)


class _Scaling:
    """One rewrite: finds for each convolution the following ops that only scale and shift its channels."""

    def __init__(self, graph: Graph, wanted: Collection[str]) -> None:
        self.graph, self.draft, self.names = graph, Draft(graph), FreeNames(graph.nodes)
        refs = list(map(TensorRef.parse, wanted))
        self.wanted, self.results = {ref.op for ref in refs}, {ref.op for ref in refs if ref.index == 0}
        branching = any(node.op in SWITCHES or node.op in ENTERS for node in graph.nodes.values())
        self.regions: Mapping[str, str] = Flow.of(graph).regions if branching else {}
        self.shapes: dict[TensorRef, Shape | None] = {}

    def done(self, convolutions: Sequence[str]) -> Graph:
        replacements = dict[TensorRef, TensorRef]()
        for name in convolutions:
            steps = self._steps(name)
            if any(step.kind in _PRODUCTS or step.kind in _FUSED for step in steps):
                replacements[TensorRef(steps[-1].name, 0)] = _Composition(self, name).of(steps)
        self.draft.redirect(replacements)
        for ref, scaled in replacements.items():
            if ref.op in self.results:
                make_identity(self.draft.op(ref.op), scaled)
        return self.draft.sealed()

    def _steps(self, name: str) -> list[_Step]:
        """Return the ops after a convolution that scale and shift its channels, in order."""
        node, kernel = self.graph.nodes[name], self.shape(self.graph.inputs(name)[1])
        if kernel is None or not self._is_plain(name) or dtype_numbered(node.attr["T"].type).name not in _DTYPES:
            return []
        channels, rank = prod(kernel[axis] for axis in _CHANNEL_AXES[node.op]), len(kernel)
        steps = list[_Step]()
        while (step := self._step(name, channels, rank)) is not None:
            steps.append(step)
            name, rank = step.name, rank - len(self._squeezed_dimensions(step.name))
        return steps

    def _step(self, below: str, channels: int, rank: int) -> _Step | None:
        """Return the only reader of an op if it scales or shifts each channel, or squeezes; else None."""
        readers = self.graph.consumers.get(below, [])
        if len(readers) != 1 or below in self.wanted or not self._is_plain(readers[0]):
            return None
        (name,), kind, inputs = readers, self.graph.nodes[readers[0]].op, self.graph.inputs(readers[0])
        if kind == _SQUEEZE:
            dims = self._squeezed_dimensions(name)
            return _Step(name, kind, None) if dims and dims.isdisjoint({-1, rank - 1}) else None
        if kind in _FUSED:
            vectors = inputs[0].op == below and all(self.shape(ref) == (channels,) for ref in inputs[1:])
            return _Step(name, kind, None) if vectors and self._is_inference(name) else None
        others = [ref for ref in inputs if ref.op != below]
        turned = kind in _FROM_THE_LEFT and inputs[0].op != below
        if kind not in _SUMS | _PRODUCTS or turned or len(inputs) != 2 or len(others) != 1:
            return None
        shape = self.shape(others[0])
        by_channel = shape is not None and len(shape) <= rank and shape[-1:] in ((), (prod(shape),))
        return _Step(name, kind, others[0]) if by_channel and prod(shape or ()) in (1, channels) else None

    def _is_plain(self, name: str) -> bool:
        """Return whether an op has its channels last, no control inputs, and is in no conditional or loop."""
        node = self.graph.nodes[name]
        layout = node.attr["data_format"].s if "data_format" in node.attr else b""
        return layout in _CHANNELS_LAST and not control_inputs(node) and name not in self.regions

    def _squeezed_dimensions(self, name: str) -> set[int]:
        """Return the dimensions that a squeeze removes; empty for any other op."""
        node = self.graph.nodes[name]
        return set(node.attr["squeeze_dims"].list.i) if "squeeze_dims" in node.attr else set()

    def _is_inference(self, name: str) -> bool:
        """Return whether a fused normalisation uses averages, and only its first output is read."""
        read = any(TensorRef(name, index) in self.graph.readers for index in range(1, 6))
        return not read and not mixes_rows(self.graph.nodes[name], self.graph.nodes)

    def shape(self, ref: TensorRef) -> Shape | None:
        """Return the shape of a tensor that is computed elementwise from variables and constants only; else None."""
        if ref not in self.shapes:
            self.shapes[ref] = None  # a loop's back edge leads here again
            self.shapes[ref] = self._found_shape(ref)
        return self.shapes[ref]

    def _found_shape(self, ref: TensorRef) -> Shape | None:
        node = self.graph.nodes.get(ref.op)
        if node is None or ref.index or ref.op in self.regions or control_inputs(node):
            return None
        if node.op == "Const":
            return shape_of(node.attr["value"].tensor)
        if node.op in VARIABLES:
            sizes = tuple(dim.size for dim in node.attr["shape"].shape.dim)
            return None if node.attr["shape"].shape.unknown_rank or -1 in sizes else sizes
        return self._computed_shape(node)

    def _computed_shape(self, node: NodeDef) -> Shape | None:
        inputs = self.graph.inputs(node.name)
        known = [shape for ref in inputs if (shape := self.shape(ref)) is not None]
        if len(known) < len(inputs) or not known:
            return None
        if node.op in BROADCASTING:
            return np.broadcast_shapes(*known)
        if node.op in ("Reshape", "ExpandDims"):
            return self._reshaped(known[0], node.op, inputs[1].op)
        return known[0] if node.op in _UNARY else None

    def _reshaped(self, before: Shape, kind: str, by: str) -> Shape | None:
        """Return the shape after a Reshape or ExpandDims by a constant; None if it is computed."""
        given = numbers(self.graph.nodes[by])
        if given is None:
            return None
        if kind == "ExpandDims":
            return np.expand_dims(np.empty(before, np.bool_), int(given)).shape
        rest = prod(before) // max(1, prod(int(size) for size in given if size >= 0))
        return tuple(int(size) if size >= 0 else rest for size in given)


class _Composition:
    """Combines the steps after one convolution into one scale and one shift, and adds the ops to the draft."""

    def __init__(self, scaling: _Scaling, convolution: str) -> None:
        self.graph, self.draft, self.names = scaling.graph, scaling.draft, scaling.names
        self.convolution = convolution
        self.dtype = dtype_numbered(self.graph.nodes[convolution].attr["T"].type)
        self.kernel = self.graph.inputs(convolution)[1]
        sizes = scaling.shape(self.kernel) or ()
        axes = _CHANNEL_AXES[self.graph.nodes[convolution].op]
        self.sizes = [sizes[axis] if axis in axes else 1 for axis in range(axes[0], len(sizes))]

    def of(self, steps: Sequence[_Step]) -> TensorRef:
        """Scale the kernel by the combined scale, and return the new convolution's shifted outputs."""
        scale, shift = self._number(1), self._number(0)
        for step in steps:
            if step.kind in _FUSED:
                scale, shift = self._normalised(step.name, scale, shift)
            elif step.by and step.kind in _PRODUCTS:
                scale, shift = self._op(step.kind, scale, step.by), self._op(step.kind, shift, step.by)
            elif step.by:
                shift = self._op("Sub" if step.kind == "Sub" else "AddV2", shift, step.by)
        convolution = copy_of(self.graph.nodes[self.convolution])  # the original may be a requested output, too
        convolution.name = self.names.free(f"{self.convolution}/scaled/{convolution.op}")
        convolution.input[1] = input_text(self._op("Mul", self.kernel, self._by_channel(scale, self.sizes)))
        self.draft.add(convolution)
        bias = self._by_channel(shift, [prod(self.sizes)])
        outputs = self._op("BiasAdd", TensorRef(convolution.name, 0), bias)
        for step in steps:
            outputs = self._squeezed(step.name, outputs) if step.kind == _SQUEEZE else outputs
        return outputs

    def _squeezed(self, name: str, ref: TensorRef) -> TensorRef:
        squeezed = self._op(_SQUEEZE, ref)
        self.draft.op(squeezed.op).attr["squeeze_dims"].CopyFrom(self.graph.nodes[name].attr["squeeze_dims"])
        return squeezed

    def _normalised(self, name: str, scale: TensorRef, shift: TensorRef) -> tuple[TensorRef, TensorRef]:
        """Return the scale and shift after a fused normalisation."""
        _, gamma, beta, mean, variance = self.graph.inputs(name)
        node = self.graph.nodes[name]
        epsilon = self._number(node.attr["epsilon"].f if "epsilon" in node.attr else FUSED_EPSILON)
        factor = self._op("Mul", self._op("Rsqrt", self._op("AddV2", variance, epsilon)), gamma)
        centred = self._op("Sub", shift, mean)
        return self._op("Mul", scale, factor), self._op("AddV2", self._op("Mul", centred, factor), beta)

    def _by_channel(self, ref: TensorRef, sizes: Sequence[int]) -> TensorRef:
        """Return one number per channel, or one for all, reshaped to `sizes`."""
        ones = self._constant("ones", np.ones([prod(sizes)], self.dtype.numpy), self.dtype)
        shape = self._constant("shape", np.array(sizes, np.int32), _INT32)
        made = self._op("Reshape", self._op("Mul", ref, ones), shape)
        self.draft.op(made.op).attr["Tshape"].CopyFrom(type_attr(_INT32.number))
        return made

    def _number(self, value: float) -> TensorRef:
        return self._constant("number", np.array(value, self.dtype.numpy), self.dtype)

    def _constant(self, name: str, value: Array, dtype: DType) -> TensorRef:
        node = constant(self.names.free(f"{self.convolution}/scaled/{name}"), value, dtype)
        self.draft.add(node)
        return TensorRef(node.name, 0)

    def _op(self, kind: str, *inputs: TensorRef) -> TensorRef:
        node = NodeDef(name=self.names.free(f"{self.convolution}/scaled/{kind}"), op=kind)
        set_inputs(node, inputs)
        node.attr["T"].CopyFrom(type_attr(self.dtype.number))
        self.draft.add(node)
        return TensorRef(node.name, 0)
