"""Preparing to train: which weights are frozen, and the graph whose own training op trains the rest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ckpttool.errors import GraphError, PlanError
from ckpttool.graph.closure import FrozenPart, frozen_part
from ckpttool.graph.frozen import frozen_with_layers
from ckpttool.graph.graph import Graph, TensorRef
from ckpttool.graph.rewrite import (
    drop_updates,
    importable,
    pin_training,
    untrainable,
    updated_variables,
    without_training,
)
from ckpttool.graph.roles import Roles, find_roles
from ckpttool.graph.variables import Variable, variables
from ckpttool.runtime.build import with_training
from ckpttool.runtime.recipe import Recipe
from ckpttool.selection import Pattern
from ckpttool.transfer.plan import layer_of


@dataclass(frozen=True)
class Frozen:
    """What training will not change: names in the checkpoint, the part below the cut, the graph with that part pinned.

    `part` is None when nothing is frozen. In `graph` the frozen layers run in inference mode.
    """

    names: tuple[str, ...]
    part: FrozenPart | None
    graph: Graph


def freeze_for_training(
    graph: Graph, roles: Roles, train: Pattern | None, freeze: Pattern | None, own_training_op: bool = False
) -> Frozen:
    """Freeze what the patterns say, on top of what the graph itself does not train.

    Raises:
        GraphError: the graph's loss is not known.
        UnknownName: a pattern takes nothing.
        PlanError: nothing is left to train.
    """
    loss = needed_role(graph, roles, "loss")
    weights, others = _weights(graph, loss)
    others = others if own_training_op else {}  # a new training op knows nothing of them
    live = _live(graph, roles, loss, weights, own_training_op)
    said = set(freeze.select([*weights, *others])) if freeze else set()
    trained = (_chosen(graph, train, weights, live) - said) & live
    if not trained:
        raise PlanError(f"{graph.source}: nothing is left to train: all {len(weights)} weights are frozen")
    kept = [name for name, variable in weights.items() if variable.trainable and name not in trained]
    beside = others if train else [name for name in others if name in said]
    names = frozen_with_layers(graph, [*kept, *_untrained(weights, trained), *beside])
    if not names:
        return Frozen((), None, graph)
    below = [name for name in names if name not in others]
    part = frozen_part(graph, below, [loss], [roles.training] if roles.training else []) if below else None
    stored = tuple(dict.fromkeys(variables(graph)[name].name for name in names))
    return Frozen(stored, part, pin_training(graph, part) if part else graph)


def trainable_graph(frozen: Frozen, roles: Roles, recipe: Recipe | None, seed: int) -> tuple[Graph, Roles]:
    """Return a graph whose training op leaves the frozen weights alone, and its roles.

    With an optimizer the graph gets a new training op; without one it keeps its own, less the frozen updates.
    """
    if recipe is None:
        return drop_updates(frozen.graph, frozen.names), roles
    said: dict[str, Any] = {
        "loss": roles.loss,
        "labels": roles.labels,
        "logits": roles.logits,
        "accuracy": roles.accuracy,
    }
    targets = [*roles.inputs, *(name for name in said.values() if name)]
    bare = drop_updates(without_training(frozen.graph, targets), frozen.names)
    bare = untrainable(bare, frozen.names)
    trained = [v.op for v in variables(bare).values() if v.trainable and v.name not in frozen.names]
    graph = with_training(importable(bare), str(roles.loss), trained, recipe, seed)
    return graph, find_roles(graph, **said, inputs=roles.inputs)


def needed_role(graph: Graph, roles: Roles, role: str) -> str:
    """Return the name that plays a role.

    Raises:
        GraphError: the graph has none.
    """
    name: str | None = getattr(roles, role)
    if name is None:
        raise GraphError(f"{graph.source}: no {role} is known; name it with --{role}, or put one on with reuse --head")
    return name


def _weights(graph: Graph, loss: str) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """Return the weights that the loss needs, and the others, which a training op may change all the same."""
    ops = graph.ancestors(TensorRef.parse(loss).op)
    weights = {name: variable for name, variable in variables(graph).items() if variable.kind == "weight"}
    below = {name: variable for name, variable in weights.items() if variable.op in ops}
    return below, {name: variable for name, variable in weights.items() if name not in below}


def _untrained(weights: Mapping[str, Variable], trained: Collection[str]) -> list[str]:
    """Return the weights that are not trainable, in layers of which nothing is trained."""
    scopes = {layer_of(name) for name in trained}
    return [name for name, variable in weights.items() if not variable.trainable and layer_of(name) not in scopes]


def _live(graph: Graph, roles: Roles, loss: str, weights: Mapping[str, Variable], own_training_op: bool) -> set[str]:
    """Return the weights that training can change: those with a gradient, or those that the graph's own op updates."""
    if not weights:
        raise GraphError(f"{graph.source}: the loss {loss} is computed without any weight; name another with --loss")
    found = updated_variables(graph, str(roles.training_op)) if own_training_op else _with_gradient(graph, loss)
    if own_training_op and not found:
        raise GraphError(f"{graph.source}: --train-op {roles.training_op} changes no variable")
    return {name for name, variable in weights.items() if name in found and variable.trainable}


def _chosen(graph: Graph, train: Pattern | None, weights: Mapping[str, Variable], live: Collection[str]) -> set[str]:
    """Return the weights that a pattern takes, all without one; none may lie in a layer that the graph keeps frozen."""
    if train is None:
        return set(weights)
    chosen = set(train.select(weights))
    _refuse_frozen(graph, chosen, live)
    return chosen


def _refuse_frozen(graph: Graph, chosen: Collection[str], live: Collection[str]) -> None:
    """Refuse to train a layer that the graph itself keeps frozen, by its collections or a StopGradient op."""
    scopes = {layer_of(name) for name in live}
    for name in sorted(chosen):
        if layer_of(name) not in scopes:
            raise PlanError(
                f"{graph.source}: --train takes {name}, which the graph itself keeps frozen; "
                "`reuse MODEL --layers '.*' --into ORIGINAL.meta` puts the weights into the graph it was frozen from"
            )


def _with_gradient(graph: Graph, loss: str) -> set[str]:
    """Return the variables that the loss has a gradient for: those that no StopGradient hides."""
    found: set[str] = set()
    todo = [TensorRef.parse(loss).op]
    while todo:
        name = todo.pop()
        if name not in found and graph.nodes[name].op != "StopGradient":
            found.add(name)
            todo.extend(ref.op for ref in graph.inputs(name))
    return {name for name, variable in variables(graph).items() if variable.op in found}
