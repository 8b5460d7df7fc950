"""Unfreezing: layers that the graph, or the Keras file, keeps frozen become trainable again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ckpttool.core.names import listed
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
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
    """A model, the weights that became trainable, and notes."""

    model: Model
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def with_unfrozen(model: Model, layers: str | None, roles: Mapping[str, Any] | None = None) -> Unfrozen:
    """Return the model in which the layers that match a pattern are trainable.

    A Keras file is read again, since unfrozen layers compute something else in training: batch normalisation updates
    its averages again. In other graphs the frozen layers stay in inference mode.

    Raises:
        UnknownName: the pattern matches no weight.
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
    """Return the averages of the selected layers that no op of the graph updates."""
    weights = {name: each for name, each in variables(graph).items() if each.kind == "weight"}
    changed = changed_variables(graph)
    return [
        name
        for name in taken_by(pattern, weights)
        if weights[name].own_name.rpartition("/")[2] in STATISTICS and weights[name].op not in changed
    ]
