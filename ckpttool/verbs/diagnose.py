"""Diagnosis: how activations and gradients are spread over the layers of a network, and which units are of no use.

Vanishing and exploding gradients (Glorot and Bengio 2010), saturated sigmoids and dying ReLUs, layer by layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import Classes, spare_outputs
from ckpttool.data.held_out import HeldOut
from ckpttool.graph.contents.layers import activated, layers
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph, without_training
from ckpttool.graph.roles.resolve import needed_role
from ckpttool.model.model import Model
from ckpttool.runtime.build import with_gradients
from ckpttool.runtime.function import STEP_NUMBER, GraphFunction, runner
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.state import State
from ckpttool.training.bound import Bound, mode
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.run import RunReport
from ckpttool.training.spread import odd_rows

BATCH = 100
"""Rows that pass through the network at once."""
SEED = 42
"""What random ops without a seed of their own draw from."""
RATIO = 1e3
"""Gradients vanish or explode where their spread is this many times smaller or larger than at the top."""
ENDS: dict[str, tuple[float, float]] = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0)}
"""The ends that an activation saturates at, by the type of its op."""
NEAR = 0.025
"""How close to an end is saturated, as a share of the distance between the ends."""
DEAD, SATURATED = 0.1, 0.5
"""The shares of dead units and of saturated activations from which on a verdict names them."""


@accepts_watch
def diagnose(
    model: Model,
    data: str | Path,
    rows: int = 1000,
    valid: int | str | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    classes: Classes = None,
    objective: Objective | None = None,
    preprocess: str | None = None,
) -> list["Diagnosis"]:
    """Return the figures of each layer on a sample of the training rows, from the lowest layer to the top.

    The network runs as in training: dropout is on (and draws the same each time) and batch normalisation uses the
    batch, of 100 rows. Nothing is changed.

    Args:
        model: The model.
        data: A path, or one of the other sources of rows, with labels.
        rows: How many rows to look at; they lie evenly over the whole training set.
        valid: Which of the training rows were held out: 60, 20%, first:5000; what the model's run says if not given.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        roles: Names of tensors by role, where they are not found in the graph.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        features: What records hold, where they do not tell.
        classes: Names of the model's classes, or the file that has them; those that it has if not given.
        objective: A loss for the outputs of a graph that has none, or another one than it has.
        preprocess: What is done to rows first (`scale(1/127.5, -1)`), if not what the model keeps.

    Raises:
        PlanError: no rows are asked for.
        GraphError: the loss is not known, or no layer's output is.
        DataError: the rows do not fit the graph.
    """
    if rows < 1:
        raise PlanError(f"`rows` must be 1 or more, found {rows}")
    bound = Bound.of(model, roles, ("inputs", "labels", "loss"), classes, objective).preprocessing(preprocess)
    graph = bound.model.graph
    probes = probes_of(graph, needed_role(graph, bound.roles, "loss"))
    held_out = Which(None, valid, group, seed).rule(RunReport.beside(model.path)) or HeldOut()
    bound = bound.with_training_rows(data, held_out, features)
    bound = replace(bound, splits=bound.splits[:1])
    batches = _batches(bound.splits[0].rows, rows)
    bound.require_batches([len(batch) for batch in batches])
    row = bound.check_classes()
    callback = CallbackList(callbacks)
    callback.on_data(bound.splits)
    spare = spare_outputs(bound.class_names, row[-1]) if row else []
    callback.on_notes([*bound.notes, *spare, *odd_rows(bound)])
    weights = _run(bound, probes, batches)
    return with_verdicts([probe.diagnosis(weights) for probe in probes])


def probes_of(graph: Graph, loss: str) -> list["Probe"]:
    """Return a probe for each layer that the loss depends on, in data-flow order.

    Raises:
        GraphError: there is none.
    """
    needed = graph.ancestors(TensorRef.parse(loss).op)
    trained = [variable for variable in variables(graph).values() if variable.trainable and variable.op in needed]
    probes = []
    for layer in layers(subgraph(graph, [loss])):
        if layer.output is not None and TensorRef.parse(layer.output).op in needed:
            output, activation = activated(graph, layer.output, needed)
            weights = [variable.op for variable in trained if variable.name in layer.variables]
            probes.append(Probe(layer.name, output, activation, weights))
    if not probes:
        raise GraphError(f"{graph.source}: no layer's output is known that the loss {loss} depends on")
    return probes


def _batches(rows: int, count: int) -> list[Array]:
    """Return the numbers of so many of the rows, which lie evenly over all, by batch."""
    numbers = np.unique(np.linspace(0, rows - 1, min(count, rows)).astype(np.int64))
    return [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]


def _run(bound: Bound, probes: Sequence["Probe"], batches: Sequence[Array]) -> dict[str, Array]:
    """Let the probes look at batches of the rows, by number; return the weights that these ran with, by op."""
    model, roles, split = bound.model, bound.roles, bound.splits[0]
    outputs = list(dict.fromkeys(probe.output for probe in probes))
    weights = list(dict.fromkeys(name for probe in probes for name in probe.weights))
    loss, fed = str(roles.loss), [*roles.inputs, *([roles.labels] if roles.labels else [])]
    bare = without_training(model.graph, [loss, *outputs, *fed])
    graph, gradients = with_gradients(importable(bare), loss, outputs, weights)
    training = mode(roles, True)
    function = GraphFunction(graph, [*outputs, *gradients.values()], [*fed, *training], SEED)
    state = State(function.variables, model.checkpoint)
    call = runner(function, state, training)
    arrays = bound.feeds(split)
    for step, rows in enumerate(batches):
        batch = {name: np.asarray(array[rows]) for name, array in arrays.items()}
        results = call({**batch, STEP_NUMBER: np.int64(step)})
        values = dict(zip(outputs, results, strict=False))
        slopes = dict(zip(gradients, results[len(outputs) :], strict=True))
        for probe in probes:
            probe.add(values[probe.output], slopes, len(rows))
    return state.read()


@dataclass(frozen=True)
class Diagnosis:
    """The figures of a layer; what is not known is None.

    `mean` and `std` are those of the activations `output`, `gradient_mean` and `gradient_std` those of the gradients of
    each row's own loss for them. `dead` is the share of units (the last dimension) that are zero in all rows and
    places, `saturated` that of the activations near an end of sigmoid, tanh or softsign. `gradient_to_weight` is the
    norm of the loss's gradient for the layer's weights, divided by the norm of these weights.
    """

    layer: str
    output: str
    activation: str | None
    mean: float
    std: float
    gradient_mean: float | None
    gradient_std: float | None
    dead: float
    saturated: float | None
    gradient_to_weight: float | None
    verdict: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


class Spread:
    """The mean and the standard deviation of values that come in pieces.

    >>> spread = Spread()
    >>> for piece in ([1.0, 2.0], [3.0]):
    ...     spread.add(np.array(piece))
    >>> spread.mean, round(spread.std, 3)
    (2.0, 0.816)
    """

    def __init__(self) -> None:
        """Begin without values, whose mean is not a number."""
        self.count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, values: Array) -> None:
        """Take values in."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.count += values.size
            self._sum += float(values.sum(dtype=np.float64))
            self._squares += float(np.square(values, dtype=np.float64).sum())

    @property
    def mean(self) -> float:
        """The mean."""
        return self._sum / self.count if self.count else nan

    @property
    def std(self) -> float:
        """The standard deviation."""
        if not self.count or not isfinite(self._squares):
            return nan
        return sqrt(max(0.0, self._squares / self.count - self.mean**2))


class Probe:
    """Looks at one layer's activations, their gradients and those of its weights, batch by batch."""

    def __init__(self, layer: str, output: str, activation: str | None, weights: Sequence[str]) -> None:
        """Take a layer's name, the tensor and the op type of its activation, and the ops of its trained variables."""
        self.layer, self.output, self.activation, self.weights = layer, output, activation, tuple(weights)
        self._values, self._gradients, self._rows = Spread(), Spread(), 0
        self._alive, self._near = np.zeros(1, bool), 0
        self._sums: dict[str, Array] = {}

    def add(self, values: Array, gradients: Mapping[str, Array], rows: int) -> None:
        """Take in a batch: the activations, and the gradients of the batch's mean loss by what they are for."""
        self._rows += rows
        self._values.add(values)
        units = values.reshape(
            -1, values.shape[-1] if values.ndim > 1 else 1
        )  # a unit is a place in the last dimension
        self._alive = self._alive | (units != 0).any(0)
        if self.activation in ENDS:
            low, high = ENDS[self.activation]
            margin = NEAR * (high - low)
            self._near += int(np.count_nonzero((values < low + margin) | (values > high - margin)))
        if self.output in gradients:
            self._gradients.add(gradients[self.output] * rows)
        for name in self.weights:
            if name in gradients:
                self._sums[name] = self._sums.get(name, 0.0) + gradients[name].astype(np.float64) * rows

    def diagnosis(self, weights: Mapping[str, Array]) -> Diagnosis:
        """Return the figures, given the weights by op; the verdict needs the other layers too."""
        known = self._gradients.count > 0
        size = _norm([weights[name] for name in self._sums])
        return Diagnosis(
            self.layer,
            self.output,
            self.activation,
            self._values.mean,
            self._values.std,
            self._gradients.mean if known else None,
            self._gradients.std if known else None,
            float(1 - self._alive.mean()),
            self._near / self._values.count if self.activation in ENDS else None,
            _norm(list(self._sums.values())) / self._rows / size if size else None,
        )


def with_verdicts(layers: Sequence[Diagnosis]) -> list[Diagnosis]:
    """Return diagnoses, from the lowest layer to the top, each with what it means in a few words."""
    spreads = [each.gradient_std for each in layers if each.gradient_std is not None and each.gradient_std > 0]
    return [replace(each, verdict=_verdict(each, spreads[-1] if spreads else nan)) for each in layers]


def _verdict(layer: Diagnosis, top: float) -> str:
    """Return all that is wrong with a layer; `top` is the spread of the gradients at the top."""
    if not isfinite(layer.std) or not isfinite(layer.gradient_std or 0.0):
        return "not finite"
    gradient = layer.gradient_std
    wrong = [
        ("no gradient", gradient is None),
        ("vanishing", gradient is not None and gradient < top / RATIO),
        ("exploding", gradient is not None and gradient > top * RATIO),
        (f"dead {layer.dead:.0%}", layer.dead >= DEAD),
        (f"saturated {layer.saturated or 0:.0%}", (layer.saturated or 0) >= SATURATED),
    ]
    return ", ".join(text for text, holds in wrong if holds) or "ok"


def _norm(arrays: Sequence[Array]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))
