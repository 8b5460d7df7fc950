"""What a run of training leaves alone: the weights that its options freeze, and those that the graph itself does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.names import Pattern, layer_of
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart, frozen_part
from ckpttool.graph.freezing.frozen import frozen_with_layers
from ckpttool.graph.freezing.pinning import pin_training
from ckpttool.graph.freezing.updates import updated_variables
from ckpttool.graph.roles.roles import Roles, needed_role
from ckpttool.training.batch_norm import averages


@dataclass(frozen=True)
class Frozen:
    """What training will not change: names in the checkpoint, the part below the cut, the graph with that part pinned.

    `part` is None when nothing is frozen. In `graph` the frozen layers run in inference mode, but for those whose
    moving averages are named in `moving`.
    """

    names: tuple[str, ...]
    part: FrozenPart | None
    graph: Graph
    moving: tuple[str, ...] = ()


def freeze_for_training(
    graph: Graph,
    roles: Roles,
    train: Pattern | None,
    freeze: Pattern | None,
    own_training_op: bool = False,
    bn: str | None = None,
) -> Frozen:
    """Freeze what the patterns say, on top of what the graph itself does not train; `bn` is for moving averages.

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
    norm = averages(graph, weights, bn)
    trained = (_chosen(graph, train, weights, live) - said - set(norm.fixed)) & live
    if not trained:
        raise PlanError(f"{graph.source}: nothing is left to train: all {len(weights)} weights are frozen")
    kept = [name for name, variable in weights.items() if variable.trainable and name not in trained]
    beside = others if train else [name for name in others if name in said]
    still = [name for name in _untrained(weights, trained) if name not in norm.moving]
    names = frozen_with_layers(graph, [*kept, *still, *beside, *norm.still], norm.moving)
    if not names:
        return Frozen((), None, graph)
    below = [name for name in names if name not in others]
    switches = [roles.training] if roles.training else []
    part = frozen_part(graph, below, [loss], switches, norm.moving) if below else None
    stored = tuple(dict.fromkeys(variables(graph)[name].name for name in names))
    return Frozen(stored, part, pin_training(graph, part) if part else graph, norm.moving)


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
