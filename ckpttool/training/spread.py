"""Spread: whether rows are, at a model's first batch norms, as those were that it was trained on.

A network's moving averages say which mean and variance its author's rows had there. Rows that were scaled in another
way (bytes, 0..1, -1..1) are far from these, and whatever is computed of them is wrong without any other sign.
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
from ckpttool.training.bound import Bound, mode, placeholder_spec

ROWS = 64
"""Rows that are looked at, evenly from all: what a batch norm sees of them needs few layers, once."""
FEW = 8
"""Rows of which fewer say too little of a variance."""
FAR = 0.5
"""The divergence from which on rows are far, measured at the first batch norm of networks trained on MNIST / 255
(dense; convolutions before a batch norm, and with a ReLU between), the median over channels, 32 rows:

    the same rows                          0.00 to 0.03; 8 rows: to 0.18, 4 rows: to 0.29
    noise, moved by 4 pixels, half as bright, drawn garments in the same scaling     0.01 to 0.40
    0..255                                 16,000 and more
    -1..1                                  1.5 to 6.4
    standardised                           2.0 to 4.9
    divided by 255 twice                   0.66 to 2.7
    trained on -1..1, fed 0..1 or standardised                                       0.64 to 1.6

Photographs are far for the dense network (0.9) and not for the others (0.4): of what digits never show it knows
nothing. Colours inverted or in another order can be as near as noise, and so can -1..1 for a few
small filters behind a ReLU (0.3)."""
SHARE = 2.0
"""What is added to that, divided by the rows: means and variances of few rows differ by chance."""

ALIVE = 0.1
"""Channels whose deviation is a smaller part of the largest one do not count."""
ADVICE = (
    "the model was probably trained on rows that were preprocessed in another way (`preprocess`), or its averages "
    "have not settled"
)


@dataclass(frozen=True)
class Spread:
    """What a batch norm finds and what it expects: the mean and the standard deviation of each channel."""

    found: tuple[Array, Array]
    expected: tuple[Array, Array]
    rows: int

    @property
    def divergence(self) -> float:
        """The Kullback-Leibler divergence of normal distributions, found from expected; the median over channels.

        A mean that is off by d standard deviations gives d^2 / 2; a deviation that is twice as large gives 0.8, half
        as large 0.3, for rows of less contrast are likelier than rows beyond what training has seen. Few rows show
        their means alone. Channels that hardly vary (dead units, a picture's margin) say nothing.
        """
        (mean, deviation), (moving, usual) = self.found, self.expected
        alive = usual >= ALIVE * usual.max()
        ratio = (deviation[alive] / usual[alive]) ** 2 if self.rows >= FEW else np.ones(1)
        off = (mean[alive] - moving[alive]) / usual[alive]
        with np.errstate(over="ignore", divide="ignore"):
            return float(np.median((ratio + off**2 - 1 - np.log(ratio)) / 2))

    @property
    def is_far(self) -> bool:
        """Whether that is more than other rows of the same scaling give."""
        return self.divergence > FAR + SHARE / self.rows

    def __str__(self) -> str:
        """Say both, over the channels in the middle."""
        said = [[f"{np.median(values):.3g}" for values in pair] for pair in (self.found, self.expected)]
        return "mean {} and standard deviation {}, where its averages expect {} and {}".format(*said[0], *said[1])


def odd_rows(bound: Bound, frozen: Collection[str] | None = None) -> list[str]:
    """Return what is to be said of rows that are far from what a model's batch norms expect, a line for each input.

    Args:
        bound: The model, and the rows: the first split's are looked at.
        frozen: The variables that stay as they are; only batch norms whose averages are among them count. All if None.
    """
    try:
        spreads = dict(_spreads(bound, frozen))
    except CkptError:
        return []  # what cannot be computed in inference mode is for those to refuse who need it
    return [f"{norm.name}: the rows give it {spread}: {ADVICE}" for norm, spread in spreads.items() if spread.is_far]


def _spreads(bound: Bound, frozen: Collection[str] | None) -> Iterator[tuple[AveragedNorm, Spread]]:
    """Yield, for each input, the first batch norm above it with averages that have moved, and what it finds."""
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

    They count where their averages stay, and have ever moved from a mean of 0 and a variance of 1.
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
    """Return the numbers of the rows to look at: evenly from all, and as many as the graph takes at once."""
    shapes = [placeholder_spec(bound.model.graph, tensor).shape for tensor in bound.roles.inputs]
    most = next((shape[0] for shape in shapes if shape and shape[0]), None) or ROWS
    count = bound.splits[0].rows
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def _spread(norm: AveragedNorm, values: Array, mean: Array, variance: Array, rows: int) -> Spread:
    """Take the mean and the standard deviation of what is normalised, over all that shares them."""
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
