"""The ops that change a variable in place, and their forms for resource variables.

After tensorflow/core/ops/{state_ops,training_ops,resource_variable_ops}.cc.
"""

from typing import NamedTuple

from ckpttool.graph.contents.variables import is_variable
from ckpttool.graph.core import Graph
from ckpttool.graph.optimizer_ops import SLOTS


class Update(NamedTuple):
    """An op on references: its resource form, how many of its first inputs are references, what changes besides."""

    resource: str
    references: int = 1
    renamed_attrs: tuple[tuple[str, str], ...] = ()
    dropped_attrs: tuple[str, ...] = ()
    returns_reference: bool = True


_DTYPE = (("T", "dtype"),)
_OPTIMIZERS = {
    f"{sparse}Apply{name}": Update(f"Resource{sparse}Apply{name}", 1 + slots)
    for name, slots in SLOTS.items()
    for sparse in ("", "Sparse")
}
_ASSIGNS = {
    name: Update(f"{name}VariableOp", 1, _DTYPE, ("use_locking", "validate_shape"))
    for name in ("Assign", "AssignAdd", "AssignSub")
}
_SCATTERS = {
    f"Scatter{name}": Update(f"ResourceScatter{name}", 1, _DTYPE, ("use_locking",))
    for name in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max")
}
_SCATTERS_ND = {
    f"ScatterNd{name}": Update(f"ResourceScatterNd{name}") for name in ("Update", "Add", "Sub", "Min", "Max")
}

UPDATES = {
    **_OPTIMIZERS,
    **_ASSIGNS,
    **_SCATTERS,
    **_SCATTERS_ND,
    "StridedSliceAssign": Update("ResourceStridedSliceAssign"),
    "CountUpTo": Update("ResourceCountUpTo", returns_reference=False),
}
"""The ops that change reference variables, by their type."""

RESOURCE_UPDATES = {update.resource: update for update in UPDATES.values()}
"""The ops that change resource variables, by their type."""


def written_variable(graph: Graph, name: str) -> str | None:
    """Return the variable op that an op changes, or None where it changes none.

    A reference or handle may reach it through other updates, and into conditionals and loops.
    """
    node = graph.nodes[name]
    if node.op not in UPDATES and node.op not in RESOURCE_UPDATES:
        return None
    seen = {name}
    while graph.inputs(node.name):
        source = graph.inputs(node.name)[0].op
        if source in seen or source not in graph.nodes:
            return None
        seen.add(source)
        node = graph.nodes[source]
        if is_variable(node):
            return node.name
    return None
