"""Dropping variables from a graph, with the ops that depend on them."""

import re
from collections.abc import Collection, Container, Iterable, Sequence

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.savers import saver_ops
from ckpttool.graph.contents.signatures import input_arguments, output_tensors
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.contents.weight_updates import weight_updates
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import LOOKS, RESOURCE_UPDATES, UPDATES
from ckpttool.graph.rewrite.prune import keep
from ckpttool.graph.rewrite.savers import trim_savers
from ckpttool.graph.roles.resolve import ROLE_KEYS, certain_roles
from ckpttool.graph.roles.training_ops import training_ops, updaters

GRADIENTS = re.compile(r"(?:.*/)?gradients(?:_\d+)?/")
"""TensorFlow's scopes of gradient ops."""
_TRAINING = frozenset({"train_op", ROLE_KEYS["training_op"]})


def drop_variables(graph: Graph, names: Collection[str]) -> Graph:
    """Return the graph without variables (names in the checkpoint), and without the ops that compute with them.

    With an optimizer's slot, training is removed: the update ops that read it, the training op, and the gradients that
    no other op reads. Initialisers and savers are kept for the remaining variables.

    Raises:
        PlanError: the graph's outputs depend on a dropped variable; the message names them.
    """
    gone = {member.op: member for stored in stored_tensors(graph).values() for member in stored.members}
    gone = {op: member for op, member in gone.items() if member.name in names}
    if not gone:
        return graph
    _refuse_needed(graph, gone)
    return without_ops(trim_savers(graph, gone), gone)


def without_ops(graph: Graph, gone: Iterable[str]) -> Graph:
    """Return the graph without some ops, those that depend on them, and those that only removed ops need.

    With an optimizer's update, the ops with a control dependency on it are removed too. The graph's outputs, inputs,
    and the ops in its collections (except training ops) are kept if possible.
    """
    removed = _followers(graph, gone)
    kept = _below(graph, _asked_for(graph, removed), removed)
    users = {name: len(readers) for name, readers in graph.users.items()}
    todo = list(removed)
    while todo:  # ops that only removed ops need are removed too
        for name in {ref.op for ref in graph.inputs(todo.pop(), control=True)}:
            users[name] -= 1
            if not users[name] and name not in removed and name not in kept:
                removed.add(name)
                todo.append(name)
    # Gradients of inputs are in the same scopes as removed ones, and no op outside of these needs them.
    scopes = {match[0] for name in removed if (match := GRADIENTS.match(name))}
    inside = {name for name in graph.nodes if (match := GRADIENTS.match(name)) and match[0] in scopes}
    outside = [name for name in graph.nodes if name not in inside and name not in removed]
    removed |= inside - _below(graph, [*outside, *_asked_for(graph, removed)], removed)
    return keep(graph, graph.nodes.keys() - removed)


def lost_training(before: Graph, after: Graph) -> list[str]:
    """Return the training ops of a graph that are missing in a rewritten one."""
    ops = dict.fromkeys([*training_ops(before), *updaters(before)])
    lost = [name for name in ops if name not in after.nodes]
    return [name for name in lost if not any(name.startswith(f"{other}/") for other in lost)]


@cached
def outputs(graph: Graph) -> Sequence[str]:
    """Return the results of a graph: logits, loss, accuracy, and its signatures' outputs."""
    roles = certain_roles(graph)
    names = [name for name in (roles.logits, roles.loss, roles.accuracy, *output_tensors(graph)) if name]
    return list(dict.fromkeys(name for name in names if TensorRef.parse(name).op in graph.nodes))


def _refuse_needed(graph: Graph, gone: dict[str, Variable]) -> None:
    """Raise an error if an output (in a graph without outputs, any forward op) depends on one of some variables."""
    needed = {name: graph.ancestors(TensorRef.parse(name).op) for name in outputs(graph)}
    for op, variable in gone.items():
        lacking = [name for name, ops in needed.items() if op in ops]
        if not needed and variable.kind == "weight":
            own = (f"{variable.op}/", f"{variable.own_name}/")
            lacking = [
                name
                for name in _followers(graph, [op])
                if name != op and not name.startswith(own) and _computes_forward(graph, name)
            ]
        if lacking:
            listed = ", ".join(lacking[:4]) + (", ..." if len(lacking) > 4 else "")
            raise PlanError(f"{graph.source}: {variable.name} cannot be dropped: it is needed by {listed}")


def _computes_forward(graph: Graph, name: str) -> bool:
    kind = graph.nodes[name].op
    return not ("_grad/" in name or kind in LOOKS or kind == "NoOp" or _is_update(graph, name))


def _asked_for(graph: Graph, removed: Container[str]) -> list[str]:
    """Return the names that users of the graph may need: outputs, inputs, and collections other than training ops."""
    roles = certain_roles(graph)
    asked = [*outputs(graph), *roles.inputs, *input_arguments(graph)]
    asked += [name for name in (roles.labels, roles.training) if name]
    staying = [variable for variable in variables(graph).values() if variable.op not in removed]
    for variable in staying:  # required by `import_meta_graph`
        asked += [name for name in (variable.assign, variable.initial_value, variable.read) if name]
    keys = [key for key in graph.header.collection_def if key not in _TRAINING]
    return asked + [name for key in keys for name in graph.collection(key)]


def _followers(graph: Graph, gone: Iterable[str]) -> set[str]:
    """Return ops, those that depend on them, and those with a control dependency on an optimizer's update among these.

    Savers are excluded: they can be changed to omit a tensor.
    """
    savers, updates = set(saver_ops(graph)), weight_updates(graph)
    followers: dict[str, bool] = {}
    todo = [(name, False) for name in gone]
    while todo:
        name, after_update = todo.pop()
        if name in savers or name not in graph.nodes or (name in followers and followers[name] >= after_update):
            continue
        # After an optimizer's update, control dependencies count too.
        after_update = after_update or name in updates
        followers[name] = after_update
        following = (graph.users if after_update else graph.consumers).get(name, ())
        todo += [(follower, after_update) for follower in following]
    return set(followers)


def _is_update(graph: Graph, name: str) -> bool:
    return graph.nodes[name].op in UPDATES or graph.nodes[name].op in RESOURCE_UPDATES


def _below(graph: Graph, asked: Iterable[str], removed: Container[str]) -> set[str]:
    """Return the ops on which the needed names depend, without removed ops and beyond these."""
    below: set[str] = set()
    todo = [TensorRef.parse(name).op for name in asked]
    while todo:
        name = todo.pop()
        if name not in below and name in graph.nodes and name not in removed:
            below.add(name)
            todo.extend(ref.op for ref in graph.inputs(name, control=True))
    return below
