"""Averaging: makes batch normalisations that are always in training mode use their moving averages."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from math import prod
from typing import NoReturn

import numpy as np

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.averages import Average, averages
from ckpttool.graph.contents.batch_norms import BatchNorm
from ckpttool.graph.contents.constants import constant, numbers
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.rewrite.draft import Draft, control_inputs, input_text, type_attr

_RESHAPES = frozenset({"Reshape", "Squeeze", "ExpandDims"})

WAY_OUT = (
    "build the graph for inference in its own program, and restore the values with `reuse` (`into`), or remove "
    "the part with `strip` (`inputs`, `outputs`)"
)
"""The remedy if a graph does not determine its inference mode."""


def with_averages(graph: Graph, norms: Collection[BatchNorm]) -> Graph:
    """Return the graph in which batch normalisations use their moving averages; those without any are unchanged.

    Raises:
        GraphError: the averages cannot be determined.
    """
    return _Averaging(graph).rewritten([norm for norm in norms if norm.averages or norm.problem]) if norms else graph


class _Averaging:
    """Rewrites a graph once: normalisations, and existing gradients of them, read the averages."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.draft = Draft(graph)
        self.names = FreeNames(graph.nodes)
        self.by_op = {variable.op: variable for variable in variables(graph).values()}
        self.averages: dict[str, list[Average]] = defaultdict(list)
        for average in averages(graph):
            self.averages[average.variable].append(average)
        self.regions = Flow.of(graph).regions

    def rewritten(self, norms: Sequence[BatchNorm]) -> Graph:
        replacements: dict[TensorRef, TensorRef] = {}
        for norm in norms:
            if norm.problem or norm.averages is None:
                raise GraphError(
                    f"{self.graph.source}: {norm.op} normalises by its batch, and {norm.problem}; {WAY_OUT}"
                )
            if self.regions.get(norm.op, "").startswith("loop "):
                raise GraphError(f"{self.graph.source}: {norm.op} normalises by its batch inside a loop; {WAY_OUT}")
            statistics = zip((norm.mean, norm.variance), norm.averages, strict=True)
            values = [self._value(norm, ref, self.by_op[op]) for ref, op in statistics]
            if norm.is_fused:
                self._fuse(norm.op, values)
            else:
                replacements |= dict(zip((norm.mean, norm.variance), values, strict=True))
        self._stop_gradients(replacements)
        self.draft.redirect(replacements)
        return self.draft.sealed()

    def _fuse(self, name: str, values: Sequence[TensorRef]) -> None:
        """Make a fused op and its gradient normalise by given values."""
        readers = [
            each for each in self.graph.consumers[name] if self.graph.nodes[each].op.startswith("FusedBatchNormGrad")
        ]
        for each in (name, *readers):
            node = self.draft.op(each)
            node.input[3], node.input[4] = map(input_text, values)
            node.attr["is_training"].b = False

    def _stop_gradients(self, statistics: Collection[TensorRef]) -> None:
        """Make existing gradients treat the batch's statistics as constants: their gradients become zero."""
        forward = self.graph.ancestors(*(ref.op for ref in statistics))
        for name in self.graph.nodes if statistics else ():
            scope, is_gradient, _ = name.rpartition("_grad/")
            if is_gradient and any(f"/{scope}".endswith(f"/{ref.op}") for ref in statistics):
                within = f"{scope}{is_gradient}"
                for position, ref in enumerate(self.graph.inputs(name)):
                    if not ref.op.startswith(within) and ref.op not in forward:
                        self.draft.op(name).input[position] = input_text(self._zeros(ref))

    def _zeros(self, ref: TensorRef) -> TensorRef:
        zeros = NodeDef(name=self.names.free(f"{ref.op}/zeros"), op="ZerosLike", input=[input_text(ref)])
        zeros.attr["T"].CopyFrom(type_attr(dtype_of_output(self.graph, ref).number))
        return self._added(zeros, ref)

    def _value(self, norm: BatchNorm, ref: TensorRef, variable: Variable) -> TensorRef:
        """Return a variable's value in the dtype and the shape of a statistic."""
        value, dtype = self._read(variable), dtype_of_output(self.graph, ref)
        if variable.dtype is not dtype:
            cast = NodeDef(name=self.names.free(f"{variable.op}/cast"), op="Cast", input=[input_text(value)])
            cast.attr["SrcT"].CopyFrom(type_attr(variable.dtype.number))
            cast.attr["DstT"].CopyFrom(type_attr(dtype.number))
            value = self._added(cast, value)
        sizes = self._sizes(norm, ref, variable)
        if sizes is None:
            return value
        shape = constant(self.names.free(f"{variable.op}/sizes"), np.array(sizes, np.int32), BY_NAME["int32"])
        self._added(shape, value)
        reshape = NodeDef(name=self.names.free(f"{variable.op}/reshaped"), op="Reshape")
        reshape.input.extend([input_text(value), shape.name])
        reshape.attr["T"].CopyFrom(type_attr(dtype.number))
        reshape.attr["Tshape"].CopyFrom(type_attr(BY_NAME["int32"].number))
        return self._added(reshape, value)

    def _read(self, variable: Variable) -> TensorRef:
        """Return a variable's value: an existing read without control inputs, else a new one."""
        known = TensorRef.parse(variable.read or "")
        node = self.graph.nodes.get(known.op)
        if node is not None and known.op not in self.regions and not control_inputs(node):
            return known
        read = NodeDef(name=self.names.free(f"{variable.op}/average"), input=[variable.op])
        read.op = "ReadVariableOp" if variable.resource else "Identity"
        read.attr["dtype" if variable.resource else "T"].CopyFrom(type_attr(variable.dtype.number))
        return self._added(read, TensorRef(variable.op, 0))

    def _sizes(self, norm: BatchNorm, ref: TensorRef, variable: Variable) -> Sequence[int] | None:
        """Return a statistic's shape if it differs from its average's, such as [1, 1, 1, 8] for [8], else None.

        Raises:
            GraphError: the shape cannot be determined.
        """
        node, own = self.graph.nodes[ref.op], variable.shape
        for average in self.averages[variable.op]:
            passed = average.statistic[: average.statistic.index(ref)] if ref in average.statistic else ()
            if ref in average.statistic and all(self.graph.nodes[each.op].op not in _RESHAPES for each in passed):
                return None
        noted = known_shape(shape_of_output(self.graph, ref))
        if own is not None and noted is not None and prod(size or 1 for size in noted) == prod(own):
            sizes = tuple(size or 1 for size in noted)  # the number of virtual batches is open
            return None if sizes == own else sizes
        axes = numbers(self.graph.nodes[self.graph.inputs(ref.op)[1].op]) if node.op == "Mean" else None
        if own is None or axes is None:
            self._refuse(norm, f"and the shape of {ref} is unknown")
        if not ("keep_dims" in node.attr and node.attr["keep_dims"].b):
            return None if len(own) == 1 else (-1,)
        rank, left = axes.size + len(own), iter(own)
        reduced = {int(axis) % rank for axis in axes.reshape(-1)}
        return [1 if axis in reduced else next(left) for axis in range(rank)]

    def _refuse(self, norm: BatchNorm, why: str) -> NoReturn:
        raise GraphError(f"{self.graph.source}: {norm.op} normalises by its batch, {why}; {WAY_OUT}")

    def _added(self, node: NodeDef, behind: TensorRef) -> TensorRef:
        self.draft.add(node, behind=behind.op if behind.op in self.graph.nodes else None)
        return TensorRef(node.name, 0)
