"""Renaming variables, with all ops below their scopes, and all references to them."""

from collections.abc import Mapping

from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.op_names import VALID, Renamed, with_ops_renamed


def rename_variables(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with renamed variables: `names` maps own names to new names.

    A variable's op and the ops below its scope are renamed (`/Assign`, `/read`, `/Initializer/...`, slices), but not
    its slots, which are variables themselves. References in inputs, colocations, shared names, collections, signatures
    and contexts of conditionals and loops are changed; the savers' constants are not.

    Raises:
        PlanError: two ops would have the same name, or a name is not valid in TensorFlow.
    """
    if all(old == new for old, new in names.items()):
        return graph
    renamed = _renaming(graph, names)
    _refuse_clashes(graph, renamed)
    return with_ops_renamed(graph, renamed)


def _renaming(graph: Graph, names: Mapping[str, str]) -> Renamed:
    """Return the function that renames an op or scope according to the innermost variable that contains it."""
    scopes = {}
    for variable in variables(graph).values():
        own = variable.own_name
        scopes[own] = new = names.get(own, own)
        if variable.op == own or variable.op.startswith(f"{own}/"):
            scopes[variable.op] = new + variable.op.removeprefix(own)

    def renamed(name: str) -> str:
        scope = name
        while scope and scope not in scopes:
            scope = scope.rpartition("/")[0]
        return scopes[scope] + name.removeprefix(scope) if scope else name

    return renamed


def _refuse_clashes(graph: Graph, renamed: Renamed) -> None:
    owners: dict[str, str] = {}
    for name in graph.nodes:
        new = renamed(name)
        if new in owners:
            raise PlanError(f"{graph.source}: the ops {owners[new]} and {name} would both be named {new}")
        if new != name and not VALID.fullmatch(new):
            raise PlanError(
                f"{graph.source}: {name} cannot be named {new!r}: TensorFlow does not accept it as the name of an op"
            )
        owners[new] = name
