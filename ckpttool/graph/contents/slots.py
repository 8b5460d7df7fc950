"""Slots: the variables with optimizer state, identified by the ops that use them.

Their names and that of the optimizer are not used: `AdamOptimizer(name="Adam2")` has the slots `kernel/Adam2` and
`kernel/Adam2_1`, BERT's optimizer has `kernel/adam_m`.
"""

from collections.abc import Collection, Mapping, Sequence

from ckpttool.graph.contents.applied import applied, variable_of
from ckpttool.graph.contents.dependence import Dependence
from ckpttool.graph.contents.variable_ops import is_restored
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import (
    POWERS,
    RESOURCE_UPDATES,
    SLOTS,
    UPDATES,
    VARIABLES,
)

_ARITHMETIC = VARIABLES | frozenset(
    {
        *("Const", "Identity", "ReadVariableOp", "Cast", "Enter", "Switch", "Merge"),
        *("Sub", "Mul", "Add", "AddV2", "AddN", "RealDiv", "Div", "Neg", "Pow", "Sqrt", "Square"),
        *("Minimum", "Maximum", "Select", "SelectV2", "Less", "Greater"),
    }
)
"""Ops from which the update of an average is computed."""


def applied_slots(graph: Graph) -> dict[str, str | None]:
    """Return the slots of optimizers' own ops (`ApplyAdam`), as variable ops with the op of the trained variable.

    That op is None for variables shared by all, such as the powers of Adam's betas.
    """
    owners: dict[str, str | None] = {}
    for update in applied(graph):
        slots, powers = SLOTS.get(update.optimizer, 0), POWERS.get(update.optimizer, 0)
        behind = update.variables[: 1 + slots + powers]
        owners |= {op: None for op in behind[1 + slots :] if op is not None}
        owners |= {op: behind[0] for op in behind[1 : 1 + slots] if op is not None}
    return owners


def assigned_slots(
    graph: Graph, trained: Collection[str], others: Collection[str], initial: Collection[str]
) -> dict[str, str]:
    """Return which of `others` (variable ops) are slots of an optimizer made of plain ops, with their variables.

    Such optimizers are BERT's Adam, LAMB, and Adam's updates of an embedding. A slot is read in the update of exactly
    one of the `trained` variables, its own update depends on that variable, and nothing that has a gradient is computed
    from it. A moving average of a weight is a slot too: its update depends on that weight alone and on no input, and no
    other value is computed from it. `initial` are the ops that initialise variables.
    """
    writers = _writers(graph, {*trained, *others}, initial)
    candidates = [op for op in others if op in writers]
    if not candidates:
        return {}
    marks = Dependence.of(graph, [*candidates, *trained])
    values = {op: marks.values(names) for op, names in writers.items()}
    owners: dict[str, str] = {}
    for slot in candidates:
        read_by = [op for op in trained if op in values and marks.has(values[op], slot)]
        followed = [op for op in trained if marks.has(values[slot], op)]
        if slot in marks.differentiated:
            continue
        if len(read_by) == 1 and read_by[0] in followed and _fits(graph, slot, read_by[0]):
            owners[slot] = read_by[0]
        elif not read_by and len(followed) == 1 and _is_average(marks, slot, values[slot]):
            owners[slot] = followed[0]
    return owners


def averages(graph: Graph, owners: Mapping[str, str | None], initial: Collection[str]) -> set[str]:
    """Return the slots that are averages of their variables: computed from these alone, by plain arithmetic."""
    writers = _writers(graph, [slot for slot, owner in owners.items() if owner is not None], initial)
    return {slot for slot, ops in writers.items() if any(_is_made_of(graph, op, slot, owners[slot]) for op in ops)}


def _is_made_of(graph: Graph, update: str, slot: str, owner: str | None) -> bool:
    """Return whether an update's value depends on the slot, its variable and scalars only."""
    seen: set[str] = set()
    todo = [ref.op for ref in graph.inputs(update)[1:]]
    while todo:
        name = todo.pop()
        if name in seen or name not in graph.nodes:
            continue
        seen.add(name)
        node = graph.nodes[name]
        if node.op not in _ARITHMETIC or (node.op in VARIABLES and name not in (slot, owner) and _sizes(graph, name)):
            return False
        todo += [ref.op for ref in graph.inputs(name)]
    return owner in seen and _sizes(graph, slot) == _sizes(graph, str(owner))


def _sizes(graph: Graph, variable: str) -> list[int]:
    return [dim.size for dim in graph.nodes[variable].attr["shape"].shape.dim]


def _writers(graph: Graph, wanted: Collection[str], initial: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Return the ops that change each of the `wanted` variable ops, except those that initialise or restore them."""
    writers: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        if (node.op in UPDATES or node.op in RESOURCE_UPDATES) and name not in initial and graph.inputs(name):
            variable = variable_of(graph, graph.inputs(name)[0])
            if variable is not None and variable in wanted and not is_restored(graph, name):
                writers.setdefault(variable, []).append(name)
    return writers


def _fits(graph: Graph, slot: str, owner: str) -> bool:
    """Return whether a slot's sizes are among those of its variable, or 1, as for factored or scalar state."""
    sizes = [{dim.size for dim in graph.nodes[op].attr["shape"].shape.dim} for op in (slot, owner)]
    return sizes[0] <= {*sizes[1], 1}


def _is_average(marks: "Dependence", slot: str, values: int) -> bool:
    """Return whether a variable's update depends on no input, and no other value is computed from the variable."""
    return not values & marks.fed and slot not in marks.computing
