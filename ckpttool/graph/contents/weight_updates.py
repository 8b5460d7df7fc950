"""Weight updates: the ops that change trained variables, by optimizers' own ops and by plain ops."""

from collections.abc import Mapping

from ckpttool.graph.contents.applied import applied
from ckpttool.graph.contents.dependence import Dependence
from ckpttool.graph.contents.variable_ops import is_restored, written_variable
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, cached
from ckpttool.graph.ops import ASSIGNS, RESOURCE_UPDATES, UPDATES


@cached
def weight_updates(graph: Graph) -> frozenset[str]:
    """Return optimizers' ops (`ApplyAdam`), and assigns that compute a trained variable's new value from its old one.

    Initialisers, restores and copies of other variables are not included.
    """
    updates = {each.op for each in applied(graph)}
    trained = {variable.op for variable in variables(graph).values() if variable.trainable}
    initial = {variable.assign for variable in variables(graph).values()}
    plain = [name for name, node in graph.nodes.items() if node.op in UPDATES or node.op in RESOURCE_UPDATES]
    plain = [name for name in plain if not (name in updates or name in initial or is_restored(graph, name))]
    written = {name: op for name in plain if (op := written_variable(graph, name)) in trained and op is not None}
    if not written:
        return frozenset(updates)
    replaced = {name: op for name, op in written.items() if graph.nodes[name].op in ASSIGNS}
    updates |= written.keys() - replaced.keys()  # additions to a variable, and subtractions
    if not replaced:
        return frozenset(updates)
    dependence = Dependence.of(graph, sorted(set(replaced.values())))
    changed = (name for name, op in replaced.items() if dependence.has(dependence.values([name]), op))
    return frozenset(updates.union(changed))


@cached
def trained_by(graph: Graph) -> Mapping[str, frozenset[str]]:
    """Return the variable ops that each weight update trains."""
    trained: dict[str, set[str]] = {}
    for each in applied(graph):
        trained.setdefault(each.op, set()).update(op for op in each.variables[:1] if op is not None)
    for name in weight_updates(graph) - trained.keys():
        trained[name] = {op for op in [written_variable(graph, name)] if op is not None}
    return {name: frozenset(ops) for name, ops in trained.items()}
