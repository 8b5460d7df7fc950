"""Moving averages: the variables that average a tensor over batches, identified by their update ops.

    moving_mean.assign_sub((moving_mean - batch_mean) * (1 - decay))

makes `moving_mean` the moving average of `batch_mean`. Other forms are `assign(m, m * decay + batch_mean * (1 -
decay))`, the bias-corrected `assign_moving_average(zero_debias=True)`, and the output of a fused batch normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.variable_ops import variable_behind, written_variable
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ADDS, ASSIGNS, FORMS, PLACEHOLDERS, READS, RESTORES, SCALES, SHAPES, STREAMS

_FORM = FORMS | READS | {"Cast"}
_DEEPEST = 10
"""The number of ops through which an update is followed; TensorFlow's longest has seven."""
_FACTORS = 2
"""The maximum number of factors between a statistic and its update: 1 - decay, and the correction of a variance."""


@dataclass(frozen=True)
class Average:
    """A moving average: its variable op, the averaged tensor, the update ops, and helper variables.

    `statistic` begins with the tensor that the update reads, followed by the tensors of which it is a cast, a copy, a
    reshape or a multiple, down to the op that computes it. `helpers` are the variables of the bias correction.
    """

    variable: str
    statistic: tuple[TensorRef, ...]
    updates: tuple[str, ...]
    helpers: tuple[str, ...] = ()


@cached
def averages(graph: Graph) -> Sequence[Average]:
    """Return the moving averages of a graph, in the order of their update ops; one variable may have several."""
    return _Reader(graph).read() if is_sound(graph) else []


@cached
def is_sound(graph: Graph) -> bool:
    """Return whether all inputs of a graph's ops exist."""
    return not any(True for _ in graph.problems())


def forms(graph: Graph, ref: TensorRef) -> list[TensorRef]:
    """Return a tensor, and the tensors of which it is a cast, a copy or a reshape, down to the op that computes it."""
    found = [ref]
    while graph.nodes[found[-1].op].op in _FORM and (inputs := graph.inputs(found[-1].op)):
        found.append(inputs[0])
    return found


class _Reader:
    """Reads a graph's update ops, and the tensor that each combines with its variable."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        described = variables(graph)
        self.known = {variable.op for variable in described.values()}
        initial = {variable.assign for variable in described.values()}
        trained = {variable.op for variable in described.values() if variable.trainable}
        written = {name: op for name in graph.nodes if name not in initial and (op := written_variable(graph, name))}
        self.writers = {name: op for name, op in written.items() if op not in trained}

    def read(self) -> list[Average]:
        """Return the averages; a bias-corrected variable averages the same tensor as its `biased` variable."""
        found: dict[tuple[str, tuple[TensorRef, ...]], list[str]] = {}
        for name, op in self.writers.items():
            if statistic := self._statistic(name, op):
                found.setdefault((op, statistic), []).append(name)
        return [self._corrected(op, statistic, updates) for (op, statistic), updates in found.items()]

    def _statistic(self, name: str, variable: str) -> tuple[TensorRef, ...]:
        """Return the tensor that an update combines with the variable; empty if it is not a single data tensor."""
        inputs = self.graph.inputs(name)
        if len(inputs) != 2 or self.graph.nodes[inputs[1].op].op in RESTORES:
            return ()
        mixes = self._mixes(inputs[1], variable)
        if not mixes and self.graph.nodes[name].op not in ASSIGNS:
            return ()
        terms = self._terms(inputs[1], variable) if mixes else [inputs[1]]
        if len(terms) != 1 or terms[0].op not in self._data():
            return ()
        statistic = self._scaled_forms(terms[0])
        return statistic if mixes or self._averages_itself(statistic[-1], variable) else ()

    def _mixes(self, ref: TensorRef, variable: str, depth: int = 0) -> bool:
        """Return whether an update's value is computed from the variable's."""
        if variable_behind(self.graph, ref) == variable:
            return True
        if depth == _DEEPEST or self.graph.nodes[ref.op].op not in _FORM | ADDS | SCALES:
            return False
        return any(self._mixes(each, variable, depth + 1) for each in self.graph.inputs(ref.op))

    def _terms(self, ref: TensorRef, variable: str) -> list[TensorRef]:
        """Return the terms of an update's value other than the variable, without the factors of the average."""
        if variable_behind(self.graph, ref) == variable:
            return []
        inputs, kind = self.graph.inputs(ref.op), self.graph.nodes[ref.op].op
        mixed = [each for each in inputs if self._mixes(each, variable)]
        if mixed and kind in ADDS:
            return [term for each in inputs for term in self._terms(each, variable)]
        if mixed and kind in _FORM | SCALES:
            return [term for each in mixed for term in self._terms(each, variable)]
        return [ref]

    def _scaled_forms(self, ref: TensorRef) -> tuple[TensorRef, ...]:
        """Return a tensor, and the tensors of which it is another form or a multiple."""
        found = forms(self.graph, ref)
        for _ in range(_FACTORS):
            inputs = self.graph.inputs(found[-1].op) if self.graph.nodes[found[-1].op].op in SCALES else []
            of_batch = [each for each in inputs if each.op in self._data()]
            if len(of_batch) == 1:
                found += forms(self.graph, of_batch[0])
        return tuple(found)

    def _averages_itself(self, statistic: TensorRef, variable: str) -> bool:
        """Return whether a fused batch normalisation computes the new average, for which it reads the old one."""
        fused = self.graph.nodes[statistic.op].op.startswith("FusedBatchNorm")
        reads = self.graph.inputs(statistic.op)[3:5] if fused else []
        return any(variable_behind(self.graph, each) == variable for ref in reads for each in forms(self.graph, ref))

    def _corrected(self, variable: str, statistic: tuple[TensorRef, ...], updates: list[str]) -> Average:
        """Return an average; for the `biased` variable of a bias correction, that of the corrected variable."""
        scope, _, own = variable.rpartition("/")
        owners = [op for op in self.known if scope == op or scope.endswith(f"/{op}")]
        if own != "biased" or not owners:
            return Average(variable, statistic, tuple(updates))
        owner, helpers = max(owners, key=len), (variable, f"{scope}/local_step")
        moved = tuple(name for name, op in self.writers.items() if op in (owner, *helpers))
        return Average(owner, statistic, moved, tuple(op for op in helpers if op in self.known))

    def _data(self) -> frozenset[str]:
        return of_rows(self.graph)


@cached
def of_rows(graph: Graph) -> frozenset[str]:
    """Return the ops whose values, and not only shapes, depend on the graph's input rows."""
    rows = [name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS or node.op in STREAMS]
    rows = [name for name in rows if not _is_scalar(graph, name)]
    shapes = {name for name, node in graph.nodes.items() if node.op in SHAPES}
    return frozenset(Flow.of(graph).descendants(rows, stop=shapes))


def _is_scalar(graph: Graph, name: str) -> bool:
    attributes = graph.nodes[name].attr
    return "shape" in attributes and not (attributes["shape"].shape.unknown_rank or attributes["shape"].shape.dim)
