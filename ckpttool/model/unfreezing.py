"""Unfreezing a model: layers that its graph, or its Keras file, keeps frozen are trained again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ckpttool.core.names import Pattern, listed
from ckpttool.core.notes import notes_about
from ckpttool.formats.keras.files import is_keras_file
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.contents.variables import taken_by, variables
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.moving_averages import changed_variables
from ckpttool.graph.freezing.unfreezing import STATISTICS, unfrozen
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.model.keras_model import open_keras
from ckpttool.model.model import Model


class Unfrozen(NamedTuple):
    """A model, the weights that are trainable in it again, and notes on that."""

    model: Model
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def with_unfrozen(model: Model, layers: str | None, roles: Mapping[str, Any] | None = None) -> Unfrozen:
    """Return the model in which the layers that a pattern takes are trainable, which those are.

    A Keras file is read again, for its layers compute something else in training when they are not frozen: a batch
    normalisation moves its averages again. In another graph what was frozen stays in inference mode.

    Raises:
        UnknownName: the pattern takes no weight.
    """
    if layers is None:
        return Unfrozen(model)
    pattern = Pattern(layers)
    if is_keras_file(model.path):
        opened = open_keras(model.path, pattern)
        graph = opened.graph.allowing(model.graph.allowed)
        before, after = _trainable(model.graph), _trainable(graph)
        model = replace(model, graph=graph, checkpoint=opened.weights, unread=opened.unread)
        names, still = [name for name in after if name not in before], list[str]()
    else:
        known = find_roles(model.graph, needed=(), **(roles or {}))
        targets = [name for name in (known.loss, known.logits) if name] or output_tensors(model.graph)
        graph, names = unfrozen(model.graph, pattern, targets)
        model, still = replace(model, graph=graph), _still(graph, pattern)
    if not names:
        return Unfrozen(model, (), (f"`unfreeze` {layers} changes nothing: the model does not keep it frozen",))
    notes = notes_about("trained, although frozen in the model", names)
    notes += [f"moving averages that are no longer updated: {listed(still)}"] if still else []
    return Unfrozen(model, tuple(names), tuple(notes))


def _trainable(graph: Graph) -> list[str]:
    return [name for name, variable in variables(graph).items() if variable.trainable]


def _still(graph: Graph, pattern: Pattern) -> list[str]:
    """Return the averages of the chosen layers that no op of the graph moves."""
    weights = {name: each for name, each in variables(graph).items() if each.kind == "weight"}
    changed = changed_variables(graph)
    return [
        name
        for name in taken_by(pattern, weights)
        if weights[name].own_name.rpartition("/")[2] in STATISTICS and weights[name].op not in changed
    ]
