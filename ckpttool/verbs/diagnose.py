"""Diagnosis: statistics of activations and gradients by layer, and useless units.

Vanishing and exploding gradients (Glorot and Bengio 2010), saturated sigmoids and dying ReLUs, layer by layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import Classes, spare_outputs
from ckpttool.data.files import Source
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
from ckpttool.training.diagnosis import Diagnosis, Probe, with_verdicts
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.run_report import RunReport
from ckpttool.training.spread import odd_rows

BATCH = 100
"""The batch size."""
SEED = 42
"""The random seed of ops without a seed of their own."""


@accepts_watch
def diagnose(
    model: Model,
    data: Source,
    *,
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
) -> list[Diagnosis]:
    """Return the statistics of each layer on a sample of the training rows, from the lowest layer to the top.

    The network runs as in training: dropout is on (and draws the same each time) and batch normalisation uses the
    batch, of 100 rows. Nothing is changed.

    Args:
        model: The model.
        data: A path, or one of the other sources of rows, with labels.
        rows: The number of rows, evenly spaced over the training set.
        valid: The training rows that were held out: 60, 20%, first:5000; by default as in the model's run.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        roles: Names of tensors by role, if they are not detected in the graph.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        features: The features of records, if ambiguous.
        classes: The class names, or the file that contains them; by default the model's.
        objective: A loss for the outputs of a graph that has none, or in place of its own.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.

    Raises:
        PlanError: `rows` is less than one.
        GraphError: the loss, or the outputs of all layers, are unknown.
        DataError: the rows do not match the graph.
    """
    if rows < 1:
        raise PlanError(f"`rows` must be 1 or more, found {rows}")
    bound = Bound.of(model, roles, ("inputs", "labels", "loss"), classes, objective).preprocessing(preprocess)
    graph = bound.model.graph
    probes = probes_of(graph, _loss_of(bound))
    held_out = Which(None, valid, group, seed).rule(RunReport.beside(model.path)) or HeldOut()
    bound = bound.with_training_rows(data, held_out, features)
    bound = replace(bound, splits=bound.splits[:1])
    batches = _batches(bound.splits[0].rows, rows)
    bound.require_batches([len(batch) for batch in batches])
    shape = bound.check_classes()
    callback = CallbackList(callbacks)
    callback.on_data(bound.splits)
    spare = spare_outputs(bound.class_names, shape[-1]) if shape else []
    callback.on_notes([*bound.notes, *spare, *odd_rows(bound)])
    weights = _run(bound, probes, batches)
    return with_verdicts([probe.diagnosis(weights) for probe in probes])


def _loss_of(bound: Bound) -> str:
    """Return the name of the loss, for the gradients.

    Raises:
        GraphError: there is none, as after pretraining; the message names the commands that evaluate such layers.
    """
    try:
        return needed_role(bound.model.graph, bound.roles, "loss")
    except GraphError as error:
        raise GraphError(
            f"{error}; `search(quick)` says what each layer is worth for labelled rows as it is"
        ) from error


def probes_of(graph: Graph, loss: str) -> list[Probe]:
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
    """Return evenly spaced row indices, by batch."""
    numbers = np.unique(np.linspace(0, rows - 1, min(count, rows)).astype(np.int64))
    return [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]


def _run(bound: Bound, probes: Sequence[Probe], batches: Sequence[Array]) -> dict[str, Array]:
    """Run the probes on batches of rows; return the weights used, by op name."""
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
