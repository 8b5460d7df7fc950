"""Averages: which variables are moving averages of what a network computes for each batch, by the ops that move them.

    moving_mean.assign_sub((moving_mean - batch_mean) * (1 - decay))

is the moving average of `batch_mean`; so are `assign(m, m * decay + batch_mean * (1 - decay))`, the bias-corrected form
of `assign_moving_average(zero_debias=True)`, and the average that a fused batch normalisation gives itself.
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
"""How far an update's arithmetic is followed; the deepest that TensorFlow writes has seven ops."""
_FACTORS = 2
"""How many factors a statistic has on its way to the update: the average's share, and one that corrects a variance."""


@dataclass(frozen=True)
class Average:
    """A variable (its op), the tensors that it is the moving average of, the ops that move it, what helps them.

    The `statistic` is one tensor in several forms: what the update reads, then what that is a cast, a copy, another
    shape or a multiple of, down to where it is computed. `helpers` are the variables of the bias correction.
    """

    variable: str
    statistic: tuple[TensorRef, ...]
    updates: tuple[str, ...]
    helpers: tuple[str, ...] = ()


@cached
def averages(graph: Graph) -> Sequence[Average]:
    """Return the moving averages of a graph, in the order of the ops that move them; one variable may have several."""
    return _Reader(graph).read() if is_sound(graph) else []


@cached
def is_sound(graph: Graph) -> bool:
    """Say whether all that the ops of a graph read is there."""
    return not any(True for _ in graph.problems())


def forms(graph: Graph, ref: TensorRef) -> list[TensorRef]:
    """Return a tensor and what it is a cast, a copy or another shape of, down to where it is computed."""
    found = [ref]
    while graph.nodes[found[-1].op].op in _FORM and (inputs := graph.inputs(found[-1].op)):
        found.append(inputs[0])
    return found


class _Reader:
    """One reading of a graph: its update ops, and what each of them mixes with the variable."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        described = variables(graph)
        self.known = {variable.op for variable in described.values()}
        initial = {variable.assign for variable in described.values()}
        trained = {variable.op for variable in described.values() if variable.trainable}
        written = {name: op for name in graph.nodes if name not in initial and (op := written_variable(graph, name))}
        self.writers = {name: op for name, op in written.items() if op not in trained}

    def read(self) -> list[Average]:
        """Return the averages; a bias-corrected one is that of what its `biased` variable averages."""
        found: dict[tuple[str, tuple[TensorRef, ...]], list[str]] = {}
        for name, op in self.writers.items():
            if statistic := self._statistic(name, op):
                found.setdefault((op, statistic), []).append(name)
        return [self._corrected(op, statistic, updates) for (op, statistic), updates in found.items()]

    def _statistic(self, name: str, variable: str) -> tuple[TensorRef, ...]:
        """Return what an update mixes with the variable; nothing where that is not one tensor, of each batch."""
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
        """Say whether an update's value is computed with the variable's."""
        if variable_behind(self.graph, ref) == variable:
            return True
        if depth == _DEEPEST or self.graph.nodes[ref.op].op not in _FORM | ADDS | SCALES:
            return False
        return any(self._mixes(each, variable, depth + 1) for each in self.graph.inputs(ref.op))

    def _terms(self, ref: TensorRef, variable: str) -> list[TensorRef]:
        """Return the terms of an update's value beside the variable itself, without the factors of the average."""
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
        """Return a tensor and what it is another form or a multiple of."""
        found = forms(self.graph, ref)
        for _ in range(_FACTORS):
            inputs = self.graph.inputs(found[-1].op) if self.graph.nodes[found[-1].op].op in SCALES else []
            of_batch = [each for each in inputs if each.op in self._data()]
            if len(of_batch) == 1:
                found += forms(self.graph, of_batch[0])
        return tuple(found)

    def _averages_itself(self, statistic: TensorRef, variable: str) -> bool:
        """Say whether a fused batch normalisation gives the new average, for which it reads the old one."""
        fused = self.graph.nodes[statistic.op].op.startswith("FusedBatchNorm")
        reads = self.graph.inputs(statistic.op)[3:5] if fused else []
        return any(variable_behind(self.graph, each) == variable for ref in reads for each in forms(self.graph, ref))

    def _corrected(self, variable: str, statistic: tuple[TensorRef, ...], updates: list[str]) -> Average:
        """Return an average; that of the corrected variable where this is its `biased` one, as TensorFlow calls it."""
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
    """Return the ops whose values, and not only shapes, depend on the rows that a graph gets."""
    rows = [name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS or node.op in STREAMS]
    rows = [name for name in rows if not _is_scalar(graph, name)]
    shapes = {name for name, node in graph.nodes.items() if node.op in SHAPES}
    return frozenset(Flow.of(graph).descendants(rows, stop=shapes))


def _is_scalar(graph: Graph, name: str) -> bool:
    attributes = graph.nodes[name].attr
    return "shape" in attributes and not (attributes["shape"].shape.unknown_rank or attributes["shape"].shape.dim)
