"""Diagnosis: how activations and gradients are spread over the layers of a network, and which units are of no use.

Vanishing and exploding gradients (Glorot and Bengio 2010), saturated sigmoids and dying ReLUs, layer by layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.dataset import Split, training_splits
from ckpttool.graph.contents.convolutions import convolves
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.nonlinearity import activated
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.roles.roles import Roles, find_roles, needed_role
from ckpttool.model.model import Model
from ckpttool.runtime.build import with_gradients
from ckpttool.runtime.configure import suit_tensorflow
from ckpttool.runtime.function import STEP_NUMBER, GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.feeds import check_classes, feeds, mode, wanted
from ckpttool.verbs.probe import Diagnosis, Probe, with_verdicts

BATCH = 100
"""Rows that pass through the network at once."""
SEED = 42
"""What random ops without a seed of their own draw from."""


@accepts_watch
def diagnose(
    model: Model,
    data: str | Path,
    rows: int = 1000,
    valid: int | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
) -> list[Diagnosis]:
    """Return what is found in each layer on a sample of the training rows, from the lowest layer to the top.

    The network runs as in training: dropout is on (and draws the same each time) and batch normalisation uses the
    batch, of 100 rows. Nothing is changed. The rows lie evenly over the whole training set.

    Raises:
        PlanError: no rows are asked for.
        GraphError: the loss is not known, or no layer's output is.
        DataError: the rows do not fit the graph.
    """
    if rows < 1:
        raise PlanError(f"--rows must be 1 or more, found {rows}")
    suit_tensorflow(convolves(model.graph))
    found = find_roles(model.graph, needed=("inputs", "labels", "loss"), **(roles or {}))
    probes = probes_of(model.graph, needed_role(model.graph, found, "loss"))
    split, _ = training_splits(data, wanted(model.graph, found, features), valid)
    check_classes(model.graph, found, model.checkpoint, [split])
    CallbackList(callbacks).on_data([split])
    weights = _run(model, found, probes, _batches(split, found, rows))
    return with_verdicts([probe.diagnosis(weights) for probe in probes])


def probes_of(graph: Graph, loss: str) -> list[Probe]:
    """Return a probe for each layer that the loss depends on, in data-flow order.

    Raises:
        GraphError: there is none.
    """
    needed = graph.ancestors(TensorRef.parse(loss).op)
    trained = [variable for variable in variables(graph).values() if variable.trainable and variable.op in needed]
    probes = []
    for layer in layers(graph):
        if layer.output is not None and TensorRef.parse(layer.output).op in needed:
            output, activation = activated(graph, layer.output, needed)
            weights = [variable.op for variable in trained if variable.name in layer.variables]
            probes.append(Probe(layer.name, output, activation, weights))
    if not probes:
        raise GraphError(f"{graph.source}: no layer's output is known that the loss {loss} depends on")
    return probes


def _batches(split: Split, roles: Roles, count: int) -> Iterator[dict[str, Array]]:
    """Yield the sampled rows by the tensor that they are fed to, some at a time."""
    arrays = feeds(roles, split)
    numbers = np.unique(np.linspace(0, split.rows - 1, min(count, split.rows)).astype(np.int64))
    for start in range(0, len(numbers), BATCH):
        yield {name: np.asarray(array[numbers[start : start + BATCH]]) for name, array in arrays.items()}


def _run(model: Model, roles: Roles, probes: Sequence[Probe], batches: Iterator[dict[str, Array]]) -> dict[str, Array]:
    """Let the probes look at all batches; return the weights that these ran with, by op."""
    outputs = list(dict.fromkeys(probe.output for probe in probes))
    weights = list(dict.fromkeys(name for probe in probes for name in probe.weights))
    loss = str(roles.loss)
    bare = without_training(model.graph, [loss, *outputs, *roles.inputs, str(roles.labels)])
    graph, gradients = with_gradients(importable(bare), loss, outputs, weights)
    fed = [*roles.inputs, str(roles.labels), *mode(roles, True)]
    function = GraphFunction(graph, [*outputs, *gradients.values()], fed, SEED)
    state = State(function.variables, model.checkpoint)
    call = runner(function, state, mode(roles, True))
    for number, batch in enumerate(batches):
        found = call({**batch, STEP_NUMBER: np.int64(number)})
        values = dict(zip(outputs, found, strict=False))
        slopes = dict(zip(gradients, found[len(outputs) :], strict=True))
        for probe in probes:
            probe.add(values[probe.output], slopes, len(next(iter(batch.values()))))
    return state.read()
