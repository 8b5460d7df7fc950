"""Batch normalisations in inference mode: what each normalises, and the averages that it does so by.

They are told by their arithmetic: a fused op that does not train, or what is multiplied with one over the root of a
variance that no row has a part in. Conditionals on a mode are to be decided before (`rewrite/set_switches.py`).
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
"""That of a fused op which names none."""
_ROOTS = frozenset({"Rsqrt", "Sqrt", "Pow"})
_PASSES = FORMS | {"Cast"}
_TO_FACTOR = _PASSES | {"Maximum", "Reciprocal", "Inv"}
"""What stands between a root and what it scales; Keras's `Normalization` keeps it from zero by a maximum."""


@dataclass(frozen=True)
class AveragedNorm:
    """A batch normalisation by averages: the tensor that it normalises, and the mean and the variance that it uses.

    `epsilon` is what is added to the variance, where the tensor is without it; `channels` the position of the channels
    in the input's shape where `mean` is not of a shape that fits. `averages` are the variables (ops) behind both.
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
    """Return the batch normalisations by averages that some tensors depend on, in the order of the data's flow.

    What has no variables for its averages, or is inside of a loop, is none of them.
    """
    if not is_sound(graph):
        return []
    flow = Flow.of(graph).within(graph.ancestors(*(TensorRef.parse(text).op for text in targets)))
    return [norm for norm in _Search(graph, flow).found() if norm.op not in flow.regions]


def lowest(
    graph: Graph, norms: Sequence[AveragedNorm], counts: Callable[[AveragedNorm], bool] = lambda _: True
) -> Iterator[AveragedNorm]:
    """Yield those batch normalisations that count and whose input goes through no other that does.

    They are to be in the order of the flow; what lies above one that counts is not asked about.
    """
    above: set[str] = set()
    for norm in norms:
        if norm.input.op not in above and counts(norm):
            yield norm
            above |= graph.descendants([norm.op])


class _Search:
    """One search below the targets: fused ops, and roots with what they scale."""

    def __init__(self, graph: Graph, flow: Flow) -> None:
        self.graph, self.flow = graph, flow
        self.rows = of_rows(graph)
        self.by_op = {variable.op: variable for variable in variables(graph).values()}

    def found(self) -> Iterator[AveragedNorm]:
        """Yield the normalisations in the order of the flow."""
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
        """Read what is normalised by one over a root: `x * s + (b - mean * s)`, or `(x - mean) * s`."""
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
        """Return the rows' tensor that a root scales, and what it scales besides, to be subtracted."""
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
        """Return what a tensor of rows is a fixed multiple of."""
        below = forms(self.graph, ref)[-1]
        inputs = self.graph.inputs(below.op) if self.graph.nodes[below.op].op in SCALES else []
        of_rows = [each for each in inputs if each.op in self.rows]
        return self._unscaled(of_rows[0]) if len(of_rows) == 1 and len(inputs) == 2 else below

    def _is_added(self, name: str) -> bool:
        """Say whether a product goes into a sum, and does not scale anything."""
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
        """Return a normalisation, if its mean and its variance are variables' that no gradient trains."""
        behind = [self._behind(ref) for ref in (mean, variance)]
        own = [self.by_op[op] for op in dict.fromkeys((*behind[0], *behind[1]))]
        if values.op not in self.rows or not all(behind) or any(variable.trainable for variable in own):
            return None
        name = layer_of(own[0].own_name) or op.rpartition("/")[0] or op
        return AveragedNorm(name, op, values, mean, variance, tuple(each.op for each in own), epsilon, channels)

    def _behind(self, ref: TensorRef) -> list[str]:
        """Return the variables that a tensor is computed of; none where rows have a part in it."""
        return [] if ref.op in self.rows else [op for op in self.graph.ancestors(ref.op) if op in self.by_op]
