"""Moving averages of frozen layers, which are frozen too, and the variables that training changes.

`frozen.py` removes their updates (`updates.py`), and runs their layer in inference mode.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

from ckpttool.core.errors import UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, cached
from ckpttool.graph.ops import COPIES, RESTORES

_GIVEN = RESTORES | {"Placeholder"}
"""The sources of values in assigns that are not part of training: savers, or the user."""


def with_moving_averages(graph: Graph, frozen: Collection[str], moving: Collection[str] = ()) -> list[str]:
    """Return the frozen weights and the moving averages of completely frozen layers, except those in `moving`.

    Raises:
        UnknownName: a name is not one of the graph's variables.
    """
    described = variables(graph)
    wanted = set(frozen)
    known = {*described, *(variable.name for variable in described.values())}
    unknown = [name for name in frozen if name not in known]
    if unknown:
        raise UnknownName(f"{graph.source}: no variable {unknown[0]}{suggestion(unknown[0], described)}")
    chosen = {key for key, variable in described.items() if key in wanted or variable.name in wanted}
    trained: dict[str, list[str]] = defaultdict(list)  # by scope
    for key, variable in described.items():
        scope = variable.own_name.rpartition("/")[0] if variable.trainable else ""
        while scope:
            trained[scope].append(key)
            scope = scope.rpartition("/")[0]
    changed = changed_variables(graph)
    return [
        key
        for key, variable in described.items()
        if key in chosen
        or (variable.kind == "weight" and key not in moving and _follows(variable, trained, chosen, changed))
    ]


def _follows(
    variable: Variable, trained: Mapping[str, list[str]], chosen: Collection[str], changed: Collection[str]
) -> bool:
    """Return whether an untrainable weight is frozen with its layer, or never changes.

    The layer is the nearest scope with trainable weights. A weight frozen earlier never changes; only if a trainable
    weight is in the same scope, it is treated as a moving average of that layer.
    """
    if variable.trainable:
        return False
    scope, is_own = variable.own_name.rpartition("/")[0], True
    while scope:
        siblings = trained.get(scope)
        if siblings and (is_own or variable.op in changed):
            return all(key in chosen for key in siblings)
        scope, is_own = scope.rpartition("/")[0], False
    return variable.op not in changed


@cached
def changed_variables(graph: Graph) -> Collection[str]:
    """Return the ops of the variables that are changed by an op other than initialisers, restores and fed assigns."""
    initial = {variable.assign for variable in variables(graph).values()}
    written = {name: op for name in graph.nodes if name not in initial and (op := written_variable(graph, name))}
    return {op for name, op in written.items() if not _is_given(graph, graph.inputs(name)[-1].op)}


def _is_given(graph: Graph, op: str) -> bool:
    """Return whether a value comes from a saver or from the user, directly or through copies."""
    seen: set[str] = set()
    while op not in seen and graph.nodes[op].op in COPIES and graph.inputs(op):
        seen.add(op)
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op in _GIVEN
