"""Batch normalisations in inference mode: their inputs, and the moving averages that they use.

They are identified by their arithmetic: a fused op in inference mode, or a multiplication with one over the root of a
variance that does not depend on the rows. Conditionals on a mode must be folded before (`rewrite/set_switches.py`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from ckpttool.core.names import layer_of
from ckpttool.graph.contents.averages import forms, is_sound, of_rows
from ckpttool.graph.contents.batch_norms import mixes_rows
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ADDS, FORMS, SCALES

FUSED_EPSILON = 1e-4
"""The epsilon of a fused op without the attribute."""
_ROOTS = frozenset({"Rsqrt", "Sqrt", "Pow"})
_PASSES = FORMS | {"Cast"}
_TO_FACTOR = _PASSES | {"Maximum", "Reciprocal", "Inv"}
"""Ops between a root and the product; Keras's `Normalization` applies a maximum to avoid a division by zero."""


@dataclass(frozen=True)
class AveragedNorm:
    """A batch normalisation by averages: the tensor that it normalises, and the mean and variance that it uses.

    `epsilon` is added to the variance; it is 0 if `variance` already includes it. `channels` is the axis of the
    channels if the shape of `mean` does not broadcast to the input's. `averages` are the variable ops of both.
    """

    name: str
    op: str
    input: TensorRef
    mean: TensorRef
    variance: TensorRef
    averages: tuple[str, ...]
    epsilon: float = 0.0
    channels: int | None = None


def averaged_norms(graph: Graph, targets: Collection[str]) -> list[AveragedNorm]:
    """Return the batch normalisations by averages on which some tensors depend, in data-flow order.

    Those without variables for the averages, and those inside loops, are not included.
    """
    if not is_sound(graph):
        return []
    flow = Flow.of(graph).within(graph.ancestors(*(TensorRef.parse(text).op for text in targets)))
    return [norm for norm in _Search(graph, flow).found() if norm.op not in flow.regions]


def lowest(
    graph: Graph, norms: Sequence[AveragedNorm], counts: Callable[[AveragedNorm], bool] = lambda _: True
) -> Iterator[AveragedNorm]:
    """Yield the batch normalisations that `counts` accepts and that depend on no other accepted one.

    `norms` must be in data-flow order; `counts` is not called for those that depend on an accepted one.
    """
    above: set[str] = set()
    for norm in norms:
        if norm.input.op not in above and counts(norm):
            yield norm
            above |= graph.descendants([norm.op])


class _Search:
    """Searches the ops below the targets for fused ops, and for roots that scale rows."""

    def __init__(self, graph: Graph, flow: Flow) -> None:
        self.graph, self.flow = graph, flow
        self.rows = of_rows(graph)
        self.by_op = {variable.op: variable for variable in variables(graph).values()}

    def found(self) -> Iterator[AveragedNorm]:
        """Yield the normalisations in data-flow order."""
        for name in self.flow.order:
            node = self.graph.nodes[name]
            if node.op.startswith("FusedBatchNorm") and not mixes_rows(node, self.graph.nodes):
                norm = self._fused(name)
            else:
                norm = self._of_root(name) if node.op in _ROOTS and name not in self.rows else None
            if norm:
                yield norm

    def _fused(self, name: str) -> AveragedNorm | None:
        node, inputs = self.graph.nodes[name], self.graph.inputs(name)
        if len(inputs) != 5 or node.op.startswith("FusedBatchNormGrad"):
            return None
        first = "data_format" in node.attr and node.attr["data_format"].s.startswith(b"NC")
        epsilon = node.attr["epsilon"].f if "epsilon" in node.attr else FUSED_EPSILON
        return self._norm(name, inputs[0], inputs[3], inputs[4], epsilon, 1 if first else -1)

    def _of_root(self, root: str) -> AveragedNorm | None:
        """Return the normalisation by one over a root: `x * s + (b - mean * s)`, or `(x - mean) * s`; or None."""
        found = self._scaled(root)
        if found is None:
            return None
        normalised, means = found
        below = self._unscaled(normalised)
        if self.graph.nodes[below.op].op == "Sub":
            values, mean = self.graph.inputs(below.op)
            if mean.op not in self.rows:
                return self._norm(root, values, mean, self.graph.inputs(root)[0])
        return self._norm(root, normalised, means[0], self.graph.inputs(root)[0]) if means else None

    def _scaled(self, root: str) -> tuple[TensorRef, list[TensorRef]] | None:
        """Return the tensor of rows that a root scales, and the other tensors that it scales (the mean); or None."""
        todo, normalised, means = [root], list[TensorRef](), list[TensorRef]()
        for name in todo:
            for reader in self.flow.consumers[name]:
                kind = self.graph.nodes[reader].op
                others = [ref for ref in self.graph.inputs(reader) if ref.op != name] if kind in SCALES else []
                if others and others[0].op in self.rows:
                    normalised.append(others[0])
                elif others and self._is_added(reader):
                    means.append(others[0])
                elif (others or kind in _TO_FACTOR) and reader not in todo and reader not in self.rows:
                    todo.append(reader)
        return (normalised[0], means) if normalised else None

    def _unscaled(self, ref: TensorRef) -> TensorRef:
        """Return the tensor of rows of which another is a constant multiple."""
        below = forms(self.graph, ref)[-1]
        inputs = self.graph.inputs(below.op) if self.graph.nodes[below.op].op in SCALES else []
        of_rows = [each for each in inputs if each.op in self.rows]
        return self._unscaled(of_rows[0]) if len(of_rows) == 1 and len(inputs) == 2 else below

    def _is_added(self, name: str) -> bool:
        """Return whether a product is added to something, rather than scaling it."""
        readers = list(self.flow.consumers[name])
        for reader in readers:
            if self.graph.nodes[reader].op in ADDS:
                return True
            if self.graph.nodes[reader].op in _PASSES:
                readers += self.flow.consumers[reader]
        return False

    def _norm(
        self,
        op: str,
        values: TensorRef,
        mean: TensorRef,
        variance: TensorRef,
        epsilon: float = 0.0,
        channels: int | None = None,
    ) -> AveragedNorm | None:
        """Return the normalisation, or None if its mean and variance are not computed from untrained variables."""
        behind = [self._behind(ref) for ref in (mean, variance)]
        own = [self.by_op[op] for op in dict.fromkeys((*behind[0], *behind[1]))]
        if values.op not in self.rows or not all(behind) or any(variable.trainable for variable in own):
            return None
        name = layer_of(own[0].own_name) or op.rpartition("/")[0] or op
        return AveragedNorm(name, op, values, mean, variance, tuple(each.op for each in own), epsilon, channels)

    def _behind(self, ref: TensorRef) -> list[str]:
        """Return the variable ops on which a tensor depends; empty if it depends on rows."""
        return [] if ref.op in self.rows else [op for op in self.graph.ancestors(ref.op) if op in self.by_op]
