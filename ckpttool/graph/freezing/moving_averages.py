"""Moving averages of frozen layers are frozen too: which those are, and which variables any training changes.

`frozen.py` keeps them still: their updates are dropped (`updates.py`), and their layer runs in inference mode.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

from ckpttool.core.errors import UnknownName
from ckpttool.core.names import suggestion
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, cached
from ckpttool.graph.ops import COPIES, RESTORES

_GIVEN = RESTORES | {"Placeholder"}
"""What an assign that is not training puts in: a saver's tensors, or the user's."""


def with_moving_averages(graph: Graph, frozen: Collection[str], moving: Collection[str] = ()) -> list[str]:
    """Return the frozen weights with those that share their fate: the moving averages of layers all frozen.

    Those named in `moving` do not share it.

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
    trained: dict[str, list[str]] = defaultdict(list)  # by the scopes that these variables lie in
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
    """Say whether a weight that no optimizer trains is frozen with its layer, or never changes at all.

    The layer is the nearest scope that has trainable weights. Nothing changes what an earlier freezing has frozen; only
    where a trained weight stands right beside it is it taken for a moving average of that layer nevertheless.
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
    """Return the ops of the variables that some op changes which is neither an initialiser nor restores nor is fed."""
    initial = {variable.assign for variable in variables(graph).values()}
    written = {name: op for name in graph.nodes if name not in initial and (op := written_variable(graph, name))}
    return {op for name, op in written.items() if not _is_given(graph, graph.inputs(name)[-1].op)}


def _is_given(graph: Graph, op: str) -> bool:
    """Say whether a value comes from a saver or from the user, straight or through copies."""
    seen: set[str] = set()
    while op not in seen and graph.nodes[op].op in COPIES and graph.inputs(op):
        seen.add(op)
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op in _GIVEN
