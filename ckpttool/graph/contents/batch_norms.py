"""Batch normalisations in training mode: those that always normalise by the batch, and their moving averages.

The mode is built into the graph: a fused op with `is_training`, or `tf.nn.moments` whose variance is the input of
`rsqrt(variance + epsilon)`. Batch normalisations that a placeholder switches are not included.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ckpttool.core.names import layer_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.averages import Average, averages, forms, is_sound
from ckpttool.graph.contents.constants import numbers
from ckpttool.graph.contents.variable_ops import variable_behind
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ADDS, FORMS, SCALES

_ROOTS = frozenset({"Rsqrt", "Sqrt", "Pow"})
_STANDARD = (("moving_mean", "moving_variance"), ("moving_mean", "moving_var"), ("running_mean", "running_var"))
"""The usual names of moving averages, for averages without an update op."""
_MOMENTS = FORMS | ADDS | SCALES | {"Mean", "Sum", "Square", "SquaredDifference", "Pow", "Cast"}
"""Ops between the mean and the variance."""
_NEAR = 64
"""The number of ops that are searched for the mean of a variance; TensorFlow's code has three."""


@dataclass(frozen=True)
class BatchNorm:
    """A batch normalisation that always normalises by the batch.

    `op` is the fused op, or the square root by which it divides. `mean` and `variance` are those of the batch,
    `averages` the ops of their moving averages, or None; `updates` are the ops that update these. `problem` is the
    reason why the averages cannot be identified.
    """

    name: str
    op: str
    mean: TensorRef
    variance: TensorRef
    averages: tuple[str, str] | None
    updates: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def is_fused(self) -> bool:
        """Whether a single op normalises, and returns the mean and the variance."""
        return self.mean.op == self.op


@cached
def batch_norms(graph: Graph) -> Sequence[BatchNorm]:
    """Return the batch normalisations of a graph that are always in training mode, in graph order."""
    return list(_Search(graph).found()) if is_sound(graph) else []


def mixes_rows(node: NodeDef, nodes: Mapping[str, NodeDef]) -> bool:
    """Return whether an op normalises by the batch; `nodes` are those of its graph or function.

    TensorFlow's default for `is_training` is True. Keras also computes layer normalisation by such an op, with rows as
    channels, which does not count.
    """
    trains = node.attr["is_training"].b if "is_training" in node.attr else True
    if not node.op.startswith("FusedBatchNorm") or node.op.startswith("FusedBatchNormGrad") or not trains:
        return False
    if len(node.input) < 5:
        return True
    inputs = nodes.get(_op(node.input[0]))
    layout = node.attr["data_format"].s if "data_format" in node.attr else b"NHWC"
    if layout != b"NCHW" or inputs is None or inputs.op != "Reshape" or len(inputs.input) != 2:
        return True
    shape = nodes.get(_op(inputs.input[1]))
    first = nodes.get(_op(shape.input[0])) if shape is not None and shape.op == "Pack" else shape
    sizes = numbers(first) if first is not None else None
    return sizes is None or sizes.size == 0 or int(sizes.reshape(-1)[0]) != 1


def _op(text: str) -> str:
    """Return the op of an input, in a graph (`op:1`) or in a function (`op:output:0`)."""
    return text.partition(":")[0]


class _Search:
    """Searches a graph for candidates by op type, and for the moving averages of their statistics."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.by_op: Mapping[str, Variable] = {variable.op: variable for variable in variables(graph).values()}
        self.averaged: dict[TensorRef, list[Average]] = defaultdict(list)
        self.shared: dict[str, tuple[str, str]] = {}

    def found(self) -> Iterator[BatchNorm]:
        """Yield the normalisations; one without updates has the averages of another with the same gamma or beta."""
        nodes = self.graph.nodes
        fused = [name for name, node in nodes.items() if mixes_rows(node, nodes)]
        roots = [name for name, node in nodes.items() if node.op in _ROOTS]
        if not fused and not roots:
            return
        for average in averages(self.graph):
            for ref in average.statistic:
                self.averaged[ref].append(average)
        candidates = [(name, (TensorRef(name, 1), TensorRef(name, 2))) for name in fused]
        candidates += [(name, moments) for name in roots if (moments := self._moments(name)) is not None]
        scales = {name: self._scale(name) for name, _ in candidates}
        for name, moments in candidates:
            if (scale := scales[name]) is not None and all(ref in self.averaged for ref in moments):
                first, second = (self.averaged[ref][0].variable for ref in moments)
                self.shared.setdefault(scale.op, (first, second))
        for name, moments in candidates:
            yield self._norm(name, *moments, scales[name])

    def _scale(self, name: str) -> Variable | None:
        """Return gamma or beta, the first trainable variable by which a normalisation scales or shifts; or None."""
        factors = self.graph.inputs(name)[1:3]
        if self.graph.nodes[name].op in _ROOTS:
            factors = [ref for each in self.graph.consumers[name] for ref in self.graph.inputs(each)]
        behind = [variable_behind(self.graph, each) for ref in factors for each in forms(self.graph, ref)]
        known = [self.by_op[op] for op in behind if op is not None and op in self.by_op]
        return next((variable for variable in known if variable.trainable), None)

    def _moments(self, root: str) -> tuple[TensorRef, TensorRef] | None:
        """Return the batch's mean and variance for the root of a variance plus an epsilon, or None."""
        below = next(iter(self.graph.inputs(root)), TensorRef(root, 0))
        terms = self.graph.inputs(below.op) if self.graph.nodes[below.op].op in {"Add", "AddV2"} else [below]
        for term in terms:
            variance = forms(self.graph, term)[-1]
            mean = self._mean_below(variance) if variance in self.averaged else self._mean_of_moments(variance)
            if mean is not None:
                return mean, variance
        return None

    def _mean_below(self, variance: TensorRef) -> TensorRef | None:
        """Return the nearest tensor with a moving average from which a variance is computed, or None."""
        todo = list(self.graph.inputs(variance.op))
        for ref in todo:
            if ref in self.averaged:
                return forms(self.graph, ref)[-1]
            if len(todo) < _NEAR and self.graph.nodes[ref.op].op in _MOMENTS:
                todo += [each for each in self.graph.inputs(ref.op) if each not in todo]
        return None

    def _mean_of_moments(self, variance: TensorRef) -> TensorRef | None:
        """Return the mean of a variance by `tf.nn.moments` over the rows of a batch, or None."""
        squares = self.graph.inputs(variance.op)[0] if self._is_over_rows(variance.op) else None
        if squares is None or self.graph.nodes[squares.op].op != "SquaredDifference":
            return None
        means = [forms(self.graph, ref)[-1] for ref in self.graph.inputs(squares.op)]
        return next((ref for ref in means if self._is_over_rows(ref.op)), None)

    def _is_over_rows(self, name: str) -> bool:
        if self.graph.nodes[name].op != "Mean" or len(self.graph.inputs(name)) != 2:
            return False
        axes = numbers(self.graph.nodes[self.graph.inputs(name)[1].op])
        return axes is not None and 0 in axes

    def _norm(self, op: str, mean: TensorRef, variance: TensorRef, scale: Variable | None) -> BatchNorm:
        """Return a normalisation with its averages: those that it updates, else those with the usual names."""
        found = [self.averaged.get(ref, []) for ref in (mean, variance)]
        if all(found):
            name = layer_of(self.by_op[found[0][0].variable].own_name)
            updates = tuple(dict.fromkeys(update for each in found for average in each for update in average.updates))
            problem = self._problem(name, [average.variable for each in found for average in each])
            first, second = (each[0].variable for each in found)
            return BatchNorm(name, op, mean, variance, (first, second), updates, problem)
        name = layer_of(scale.own_name) if scale else op.rpartition("/")[0] or op
        named = (self.shared.get(scale.op) if scale else None) or self._named_averages(name)
        problem = self._problem(name, []) if named or scale is None else self._open(name, scale)
        return BatchNorm(name, op, mean, variance, named, (), problem)

    def _problem(self, name: str, found: Sequence[str]) -> str | None:
        renorm = [each.own_name for each in self.by_op.values() if each.own_name.startswith(f"{name}/renorm_")]
        if renorm:
            return f"it is a batch renormalisation ({renorm[0]})"
        if len(set(found)) > 2:
            return f"{', '.join(dict.fromkeys(found))} are all averages of its statistics"
        return None

    def _named_averages(self, scope: str) -> tuple[str, str] | None:
        ops = {variable.own_name: variable.op for variable in self.by_op.values() if not variable.trainable}
        pairs = ([ops.get(f"{scope}/{name}") for name in names] for names in _STANDARD)
        return next(((mean, variance) for mean, variance in pairs if mean and variance), None)

    def _open(self, scope: str, scale: Variable) -> str | None:
        """Return the problem if variables could be the averages, but no op tells which is which; else None."""
        beside = [
            variable.own_name
            for variable in self.by_op.values()
            if variable.kind == "weight" and not variable.trainable and layer_of(variable.own_name) == scope
        ]
        beside = [name for name in beside if name != scale.own_name]
        return f"no op shows what {', '.join(beside)} are averages of" if beside else None
