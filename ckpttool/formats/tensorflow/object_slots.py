"""Names of an optimizer's slots in TensorFlow 2, made like those of TensorFlow 1: the variable's name, then the slot's.

TensorFlow and Keras have put them together in three ways: `SGD/dense/kernel/momentum`, `Adam/m/dense/kernel` (Keras 2
since TensorFlow 2.11) and `adam/dense_kernel_momentum` (Keras 3).
"""

from collections.abc import Iterable, Mapping

from ckpttool.formats.wire.protos.bundle_pb2 import TrackableObjectGraph


def slot_nodes(graph: TrackableObjectGraph) -> set[int]:
    """Return the nodes of variables that belong to optimizers: those they list, but for the model's own in Keras 3."""
    found = {slot.slot_variable_node_id for node in graph.nodes for slot in node.slot_variables}
    for node in graph.nodes:
        children = {child.local_name: child.node_id for child in node.children}
        if "_variables" in children and not children.keys().isdisjoint(("_iterations", "iterations")):
            own = _members(graph, children["_variables"])
            found |= own - _members(graph, children.get("_trainable_variables"))
    return found


def slot_name(name: str, variables: Mapping[str, str]) -> str | None:
    """Return the name of a slot after its variable's, or None where it is that already, or of none of them.

    `variables` has the names of the variables by what becomes of them inside of a slot's name (see `embedded`).

    >>> known = embedded(["fc/kernel"])
    >>> [slot_name(name, known) for name in ("SGD/fc/kernel/momentum", "Adam/m/fc/kernel", "adam/fc_kernel_velocity")]
    ['fc/kernel/momentum', 'fc/kernel/m', 'fc/kernel/velocity']
    >>> slot_name("fc/kernel/momentum", known) is slot_name("adam/learning_rate", known) is None
    True
    """
    parts = name.split("/")
    if "/".join(parts[:-1]) in variables:
        return None
    for start in range(1, len(parts) - 1):
        if (base := "/".join(parts[start:-1])) in variables:
            return f"{base}/{parts[-1]}"
        if start > 1 and (base := "/".join(parts[start:])) in variables:
            return f"{base}/{parts[start - 1]}"
    words = parts[-1].split("_")
    for stop in range(len(words) - 1, 0, -1):
        if (flat := "_".join(words[:stop])) in variables and len(parts) > 1:
            return f"{variables[flat]}/{'_'.join(words[stop:])}"
    return None


def embedded(names: Iterable[str]) -> dict[str, str]:
    """Return variables' names by themselves, and by the one word that Keras 3 makes of each."""
    return {form: name for name in names for form in (name.replace("/", "_"), name)}


def _members(graph: TrackableObjectGraph, node: int | None) -> set[int]:
    """Return the children of a list in the graph."""
    if node is None or not 0 <= node < len(graph.nodes):
        return set()
    return {child.node_id for child in graph.nodes[node].children}
