"""Epsilons of layer and group normalisations, for which no weights can compensate if they differ.

These normalise each row by its own variance. PyTorch does not save the epsilon, so its default is compared with the
graph's, if the tensors are PyTorch's.
"""

from collections.abc import Iterator, Mapping, Sequence

from ckpttool.core.names import listed
from ckpttool.foreign.epsilons import ADDS, TORCH_EPSILON, added_below_a_root, rounded
from ckpttool.foreign.evidence import Evidence
from ckpttool.foreign.names import layer_by_role, part_of, part_word
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph

_READS = frozenset({"Identity", "ReadVariableOp", "Cast", "Reshape", "Enter", "RefEnter", "BroadcastTo"})
"""Ops between a scale and the product that applies it."""
_BETWEEN = _READS | {"Mul", "Neg"}
"""Ops between that product and the root."""
_ROOTS = frozenset({"Rsqrt", "Sqrt"})
_NEAR = 6


def row_norm_notes(
    graph: Graph, targets: Mapping[str, StoredTensor], pairs: Mapping[str, str], evidence: Evidence
) -> Iterator[str]:
    """Yield a note per epsilon that differs from PyTorch's default, with the layers.

    `pairs` maps variables to the source's tensors.
    """
    if evidence.framework not in ("torch", None):
        return
    parts: dict[str, dict[str | None, str]] = {}
    for target in pairs:
        parts.setdefault(layer_by_role(target), {}).setdefault(part_of(target), target)
    found: dict[float, list[str]] = {}
    for layer, names in parts.items():
        scale = names.get("weight")
        if scale is None or {"bias", "variance"} & names.keys() != {"bias"} or part_word(pairs[scale]) != "weight":
            continue
        epsilon = row_epsilon_of(graph, targets[scale])
        if epsilon is not None and abs(epsilon - TORCH_EPSILON) > 1e-6 * TORCH_EPSILON:
            found.setdefault(rounded(epsilon), []).append(layer)
    for epsilon, layers in found.items():
        yield (
            f"the epsilon of layer or group normalisations is {TORCH_EPSILON:g} in PyTorch by default, which does not "
            f"save it, and {epsilon:g} in the graph; no weights compensate for another epsilon, so both networks must "
            f"have the same: {listed(layers, most=3)}"
        )


def row_epsilon_of(graph: Graph, target: StoredTensor) -> float | None:
    """Return the epsilon of the normalisation whose scale is a variable, if each row has a variance of its own."""
    for product in _products([member.op for member in target.members], graph):
        todo = [ref.op for ref in graph.inputs(product) if ref.op in graph.nodes]
        for op in todo[:]:
            todo += graph.sources[op] if graph.nodes[op].op in _BETWEEN else ()
        for op in todo[:_NEAR]:
            if graph.nodes[op].op in _ROOTS and (epsilon := _epsilon_below(graph, op)) is not None:
                return epsilon
    return None


def _products(variables: Sequence[str], graph: Graph) -> Iterator[str]:
    """Yield the products that read a variable's value."""
    todo = [*variables]
    for op in todo:
        for name in graph.consumers.get(op, ()):
            if graph.nodes[name].op == "Mul":
                yield name
            elif graph.nodes[name].op in _READS and name not in todo:
                todo.append(name)


def _epsilon_below(graph: Graph, root: str) -> float | None:
    """Return the constant that is added to the input of a root, or None."""
    sums = (op for op in graph.sources[root] if graph.nodes[op].op in ADDS)
    return next((found for op in sums if (found := added_below_a_root(graph, op)) is not None), None)
