"""The weights that a run does not train: those frozen by its options, and those frozen in the graph itself."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.patterns import ByPattern, Pattern
from ckpttool.graph.contents.batch_norms import batch_norms
from ckpttool.graph.contents.variables import Variable, taken_by, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.freezing.moving_averages import changed_variables
from ckpttool.graph.freezing.updates import updated_variables
from ckpttool.graph.roles.resolve import Roles, needed_role
from ckpttool.graph.roles.training_ops import trained_layers, training_ops, with_layers

MODES = ("train", "freeze", "stats")


def freeze_for_training(
    graph: Graph,
    roles: Roles,
    train: Pattern | None,
    freeze: Pattern | None,
    own_training_op: bool = False,
    bn: str | None = None,
) -> Frozen:
    """Freeze what the patterns match, besides what the graph itself does not train; `bn` is for moving averages.

    Raises:
        GraphError: the graph's loss is unknown, or does not depend on any weight.
        UnknownName: a pattern matches nothing.
        PlanError: no layer is left to train, or the graph itself keeps frozen what `train` matches.
    """
    loss = needed_role(graph, roles, "loss")
    needed = graph.ancestors(TensorRef.parse(loss).op)
    # Layers that only normalise by the batch have averages too, which no op of the loss reads.
    needed |= {op for norm in batch_norms(graph) if norm.op in needed for op in norm.averages or ()}
    every = {name: variable for name, variable in variables(graph).items() if variable.kind == "weight"}
    weights = {name: variable for name, variable in every.items() if variable.op in needed}
    if not weights:
        raise GraphError(f"{graph.source}: the loss {loss} is computed without any weight; name another with `loss`")
    # The graph's own training op may change weights that the loss does not need; a new one does not.
    others = [name for name in every if name not in weights] if own_training_op else []
    live = _trainable(graph, roles, loss, weights, own_training_op)
    chosen = set(taken_by(train, weights)) if train else set(weights)
    if train:
        _refuse_frozen(graph, weights, chosen, live, own_training_op)
    frozen = set(taken_by(freeze, {name: every[name] for name in (*weights, *others)})) if freeze else set()
    norm = averages(graph, weights, bn)
    trained = (chosen - frozen - set(norm.fixed)) & live
    if not trained:
        way_out = "" if live or own_training_op else "; `unfreeze` trains what the graph itself keeps frozen"
        count = counted(len(weights), "weight is", "weights are")
        raise PlanError(f"{graph.source}: no layer is left to train: all {count} frozen{way_out}")
    scopes = {layer_of(weights[name].own_name) for name in trained}
    # Averages without gamma and beta are a separate layer, which the patterns may match.
    free = chosen.difference(frozen).intersection(_alone(graph, weights)).union(norm.moving)
    kept = [name for name, variable in weights.items() if variable.trainable and name not in trained]
    kept += [
        name
        for name, variable in weights.items()
        if not variable.trainable and not scopes.intersection(_scopes(variable)) and name not in free
    ]
    kept += others if train else [name for name in others if name in frozen]
    return Frozen.of(graph, [*kept, *norm.still], [loss], roles.training, norm.moving)


def _alone(graph: Graph, weights: Mapping[str, Variable]) -> Iterator[str]:
    """Yield the weights that a training op updates without a gradient, and whose scopes have no trainable weights."""
    scopes, changed = {layer_of(each.own_name) for each in weights.values() if each.trainable}, changed_variables(graph)
    for name, variable in weights.items():
        if not variable.trainable and variable.op in changed and layer_of(variable.own_name) not in scopes:
            yield name


def _scopes(variable: Variable) -> Iterator[str]:
    """Yield the scopes of a variable, the innermost first."""
    scope = layer_of(variable.own_name)
    while scope:
        yield scope
        scope = scope.rpartition("/")[0]


def _trainable(
    graph: Graph, roles: Roles, loss: str, weights: Mapping[str, Variable], own_training_op: bool
) -> set[str]:
    """Return the weights that training can change: those with a gradient, and those that the graph's own op updates."""
    if own_training_op:
        updated = updated_variables(graph, str(roles.training_op))
        if not trained_layers(graph, str(roles.training_op)):
            others = training_ops(graph)
            known = f"; it has {with_layers(graph, others)}" if others else ", and no op of the graph does"
            raise GraphError(f"{graph.source}: `training_op` {roles.training_op} trains no variable{known}")
        return {name for name, variable in weights.items() if name in updated and variable.trainable}
    reached: set[str] = set()  # by the gradient of the loss, which stops at StopGradient ops
    todo = [TensorRef.parse(loss).op]
    while todo:
        name = todo.pop()
        if name not in reached and graph.nodes[name].op != "StopGradient":
            reached.add(name)
            todo.extend(ref.op for ref in graph.inputs(name))
    return {name for name, variable in weights.items() if variable.op in reached and variable.trainable}


def _refuse_frozen(
    graph: Graph, weights: Mapping[str, Variable], chosen: Collection[str], live: Collection[str], own_training_op: bool
) -> None:
    """Refuse layers to train that the graph itself keeps frozen, by its collections or a StopGradient op."""
    scopes = {layer_of(weights[name].own_name) for name in live}
    for name in sorted(chosen):
        layer = layer_of(weights[name].own_name)
        if layer not in scopes:
            way_out = f"`unfreeze` {layer or name} trains it again, with an `optimizer`"
            if own_training_op:
                way_out += "; `reuse` puts its layers into the graph that it was frozen from (`into`)"
            raise PlanError(f"{graph.source}: `train` takes {name}, which the graph itself keeps frozen; {way_out}")


@dataclass(frozen=True)
class Averages:
    """What `bn` specifies, whatever the layers do: fixed averages, updated averages, fixed weights."""

    still: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


def averages(graph: Graph, weights: Mapping[str, Variable], modes: str | None) -> Averages:
    """Parse `bn`: one of `MODES` for all layers with moving averages, or PATTERN=MODE pairs.

    In mode `train` a layer normalises by the batch while training, and its averages are updated; in `freeze` it
    normalises by its averages, which are fixed; `stats` is `train` with the layer's own weights (gamma and beta) fixed.
    Other layers are in mode `freeze` if their weights are frozen, else `train`.

    Raises:
        PlanError: the graph has no moving averages, or the mode does not exist.
        UnknownName: a pattern matches none of them.
    """
    if modes is None:
        return Averages()
    changed = changed_variables(graph)
    # Moving averages are updated by a training op, not by a gradient.
    moving = [name for name, variable in weights.items() if not variable.trainable and variable.op in changed]
    if not moving:
        raise PlanError(f"{graph.source}: `bn` has no effect: no layer has moving averages that training updates")
    mode_of = ByPattern.parse(modes, "`bn`", _mode, " or ".join(MODES)).of(moving)
    return Averages(
        tuple(name for name, mode in mode_of.items() if mode == "freeze"),
        tuple(name for name, mode in mode_of.items() if mode != "freeze"),
        tuple(dict.fromkeys(own for name, mode in mode_of.items() if mode == "stats" for own in _own(name, weights))),
    )


def _mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(text)
    return text


def _own(average: str, weights: Mapping[str, Variable]) -> list[str]:
    """Return the trainable weights in the scope of a moving average with the same shape: gamma and beta."""
    scope, shape = layer_of(weights[average].own_name), weights[average].shape
    return [
        name
        for name, variable in weights.items()
        if variable.trainable and layer_of(variable.own_name) == scope and variable.shape == shape
    ]
