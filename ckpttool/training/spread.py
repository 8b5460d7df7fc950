"""Input scaling: whether rows have the statistics of the training data at a model's first batch norms.

The moving averages record the mean and variance of the training data there. Rows that are scaled in another way
(bytes, 0..1, -1..1) are far from these, and all outputs for them are wrong without any other sign.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.averaged_norms import AveragedNorm, averaged_norms, lowest
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.set_switches import with_switches_set
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.bound import Bound, mode
from ckpttool.training.wanted import placeholder_spec

ROWS = 64
"""Number of rows examined, evenly spaced; the inputs of the first batch norms are computed once."""
FEW = 8
"""Fewer rows than this are too few to estimate a variance."""
FAR = 0.5
"""Rows are far from a divergence of this. Measured at the first batch norm of networks trained on MNIST / 255
(dense; convolutions before a batch norm, and with a ReLU in between), median over channels, 32 rows:

    the same rows                          0.00 to 0.03; 8 rows: to 0.18, 4 rows: to 0.29
    noise, moved by 4 pixels, half as bright, drawn garments in the same scaling     0.01 to 0.40
    0..255                                 16,000 and more
    -1..1                                  1.5 to 6.4
    standardised                           2.0 to 4.9
    divided by 255 twice                   0.66 to 2.7
    trained on -1..1, fed 0..1 or standardised                                       0.64 to 1.6

Photographs are far for the dense network (0.9) but not for the others (0.4). Inverted or reordered colours can be as
near as noise, and so can -1..1 for a few small filters after a ReLU (0.3)."""
SHARE = 2.0
"""This, divided by the number of rows, is added to the threshold: statistics of few rows vary by chance."""

ALIVE = 0.1
"""Channels whose standard deviation is below this fraction of the largest one are ignored."""
ADVICE = (
    "the model was probably trained on rows that were preprocessed in another way (`preprocess`), or its averages "
    "have not settled"
)


@dataclass(frozen=True)
class Spread:
    """The mean and standard deviation of each channel: those of the rows, and those of the moving averages."""

    found: tuple[Array, Array]
    expected: tuple[Array, Array]
    rows: int

    @property
    def divergence(self) -> float:
        """The Kullback-Leibler divergence of normal distributions, found from expected; the median over channels.

        A mean that is off by d standard deviations gives d^2 / 2; twice the standard deviation gives 0.8, half of it
        0.3, since rows of lower contrast are more likely than rows outside the training range. For few rows only means
        are compared. Channels that hardly vary (dead units, image margins) are ignored.
        """
        (mean, deviation), (moving, usual) = self.found, self.expected
        alive = usual >= ALIVE * usual.max()
        ratio = (deviation[alive] / usual[alive]) ** 2 if self.rows >= FEW else np.ones(1)
        off = (mean[alive] - moving[alive]) / usual[alive]
        with np.errstate(over="ignore", divide="ignore"):
            return float(np.median((ratio + off**2 - 1 - np.log(ratio)) / 2))

    @property
    def is_far(self) -> bool:
        """Whether the divergence is larger than for other rows with the same scaling."""
        return self.divergence > FAR + SHARE / self.rows

    def __str__(self) -> str:
        """Return both as text, the median over channels."""
        said = [[f"{np.median(values):.3g}" for values in pair] for pair in (self.found, self.expected)]
        return "mean {} and standard deviation {}, where its averages expect {} and {}".format(*said[0], *said[1])


def odd_rows(bound: Bound, frozen: Collection[str] | None = None) -> list[str]:
    """Return notes on rows that are far from the statistics of a model's batch norms, one per input.

    Args:
        bound: The model, and the rows: those of the first split are examined.
        frozen: The frozen variables; only batch norms whose averages are among them are used. All if None.
    """
    try:
        spreads = dict(_spreads(bound, frozen))
    except CkptError:
        return []  # what cannot be computed in inference mode is reported by the code that needs it
    return [f"{norm.name}: the rows give it {spread}: {ADVICE}" for norm, spread in spreads.items() if spread.is_far]


def _spreads(bound: Bound, frozen: Collection[str] | None) -> Iterator[tuple[AveragedNorm, Spread]]:
    """Yield, for each input, the statistics at the first batch norm above it whose averages were updated."""
    held = [each.name for each in variables(bound.model.graph).values() if not each.trainable and each.kind == "weight"]
    if not held or (frozen is not None and not set(held) & set(frozen)):
        return  # there are no averages
    roles, split = bound.roles, bound.splits[0]
    fed = [f"{name}:0" for name in split.inputs]
    if not (targets := [name for name in (roles.logits, roles.loss) if name][:1]):
        return
    constants = mode(roles, False)
    graph = bound.in_inference(targets, [*fed, *([roles.labels] if roles.labels else [])]).graph
    graph = with_switches_set(subgraph(graph, targets), constants)
    norms = _chosen(graph, averaged_norms(graph, targets), bound, frozen)
    if not norms:
        return
    rows = _rows(bound)
    given = {name: np.asarray(split.inputs[name.removesuffix(":0")][rows]) for name in fed}
    tensors = dict.fromkeys(str(ref) for norm in norms for ref in (norm.input, norm.mean, norm.variance))
    function = GraphFunction(graph, [name for name in tensors if name not in given], [*fed, *constants])
    call = runner(function, State(function.variables, bound.model.checkpoint), constants)
    values = {**given, **dict(zip(function.wanted, call(given), strict=True))}
    for norm in norms:
        found, mean, variance = (values[str(ref)].astype(np.float64) for ref in (norm.input, norm.mean, norm.variance))
        yield norm, _spread(norm, found, mean, variance, len(rows))


def _chosen(
    graph: Graph, norms: Sequence[AveragedNorm], bound: Bound, frozen: Collection[str] | None
) -> list[AveragedNorm]:
    """Return the first of the lowest batch norms above each set of inputs.

    Only those with fixed averages that differ from the initial mean 0 and variance 1 are used.
    """
    names = {variable.op: variable.name for variable in variables(graph).values()}

    def counts(norm: AveragedNorm) -> bool:
        own = [names[op] for op in norm.averages]
        if frozen is not None and not set(own) <= set(frozen):
            return False
        values = (bound.model.checkpoint[name].read() for name in own)
        return not all((array == 0).all() or (array == 1).all() for array in values)

    by_inputs: dict[frozenset[str], AveragedNorm] = {}
    for norm in lowest(graph, norms, counts):
        below = graph.ancestors(norm.input.op)
        by_inputs.setdefault(frozenset(op for op in below if graph.nodes[op].op in PLACEHOLDERS), norm)
    return list(by_inputs.values())


def _rows(bound: Bound) -> Array:
    """Return the indices of the rows to examine: evenly spaced, and a batch that the graph accepts."""
    shapes = [placeholder_spec(bound.model.graph, tensor).shape for tensor in bound.roles.inputs]
    most = next((shape[0] for shape in shapes if shape and shape[0]), None) or ROWS
    count = bound.splits[0].rows
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def _spread(norm: AveragedNorm, values: Array, mean: Array, variance: Array, rows: int) -> Spread:
    """Return the mean and standard deviation per channel of a batch norm's input."""
    if norm.channels is not None:
        along = [1] * values.ndim
        along[norm.channels] = -1
        mean, variance = mean.reshape(along), variance.reshape(along)
    sizes = (1,) * (values.ndim - mean.ndim) + mean.shape
    axes = tuple(axis for axis, size in enumerate(sizes) if size == 1)
    found, around = values.mean(axes, keepdims=True), values.var(axes, keepdims=True) + norm.epsilon
    shape = found.shape
    expected = (np.broadcast_to(mean, shape), np.broadcast_to(np.sqrt(variance + norm.epsilon), shape))
    return Spread((found, np.sqrt(around)), expected, rows)
