"""Unfreezing: makes frozen weights trainable again, in the collections and by removing StopGradient ops.

Layers that were pinned to inference mode stay pinned, and removed updates of moving averages are not restored.
"""

from collections.abc import Collection, Mapping, Sequence

from ckpttool.core.patterns import Pattern
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.contents.collections import GLOBAL_VARIABLES, variable_defs
from ckpttool.graph.contents.variables import Variable, taken_by, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.updates import TRAINABLE_VARIABLES, untrainable
from ckpttool.graph.rewrite.draft import Draft

STATISTICS = frozenset(
    {"moving_mean", "moving_variance", "moving_var", "running_mean", "running_var", "mean", "variance"}
)
"""Names of weights that gradients never train, frozen or not."""


def unfrozen(graph: Graph, pattern: Pattern, targets: Sequence[str]) -> tuple[Graph, list[str]]:
    """Return the graph in which the weights that a pattern matches are trainable, and which of these were not before.

    A StopGradient between them and the `targets` (the loss, or the graph's outputs) is removed; other weights below it
    are removed from TRAINABLE_VARIABLES instead.

    Raises:
        UnknownName: the pattern matches no weight.
    """
    weights = {name: each for name, each in variables(graph).items() if each.kind == "weight"}
    chosen = {name for name in taken_by(pattern, weights) if _can_be_trained(weights[name])}
    live = _reached(graph, targets)
    opened = _without_stops(graph, {weights[name].op for name in chosen}, targets)
    still = _reached(opened, targets) - live
    below = [name for name, each in weights.items() if each.trainable and each.op in still and name not in chosen]
    frozen = [name for name in chosen if not weights[name].trainable]
    thawed = [name for name in weights if name in frozen or (name in chosen and weights[name].op in still)]
    left = untrainable(opened, below) if below else opened
    return (_trainable(left, [weights[name] for name in frozen]) if frozen else left), thawed


def _can_be_trained(weight: Variable) -> bool:
    return "float" in weight.dtype.name and weight.own_name.rpartition("/")[2] not in STATISTICS


def _reached(graph: Graph, targets: Sequence[str]) -> set[str]:
    """Return the ops that gradients of the targets reach without passing a StopGradient."""
    reached: set[str] = set()
    todo = [TensorRef.parse(text).op for text in targets]
    while todo:
        name = todo.pop()
        if name not in reached and graph.nodes[name].op != "StopGradient":
            reached.add(name)
            todo.extend(ref.op for ref in graph.inputs(name))
    return reached


def _without_stops(graph: Graph, weights: set[str], targets: Sequence[str]) -> Graph:
    """Return the graph without the StopGradients that prevent gradients from reaching some variables (ops).

    A StopGradient whose input gets a gradient on another path too, as the mean in `tf.nn.moments`, is kept.
    """
    needed = graph.ancestors(*(TensorRef.parse(text).op for text in targets)) if targets else set[str]()
    while True:
        reached = _reached(graph, targets)
        above = graph.descendants((weights & needed) - reached)
        stops = {
            name: graph.inputs(name)[0]
            for name in above & needed
            if graph.nodes[name].op == "StopGradient" and reached.intersection(graph.consumers.get(name, ()))
        }
        stops = {name: ref for name, ref in stops.items() if ref.op not in reached}
        if not stops:
            return graph
        draft = Draft(graph)
        draft.redirect({TensorRef(name, 0): ref for name, ref in stops.items()}, reached)
        graph = draft.sealed()


def _trainable(graph: Graph, weights: Sequence[Variable]) -> Graph:
    """Return the graph with weights added to TRAINABLE_VARIABLES, in the order of variables, and marked trainable."""
    header, ops = graph.header_copy(), {weight.op for weight in weights}
    entries = _entries(graph)
    for key in header.collection_def:
        if key in GLOBAL_VARIABLES:
            values = header.collection_def[key].bytes_list.value
            values[:] = [_marked(raw, ops) for raw in values]
    trained = {TensorRef.parse(each.variable_name).op for each in variable_defs(graph, TRAINABLE_VARIABLES)} | ops
    listed = header.collection_def[TRAINABLE_VARIABLES].bytes_list
    listed.value[:] = [_marked(each.SerializeToString(), ops) for op, each in entries.items() if op in trained]
    return graph.having(header=header)


def _entries(graph: Graph) -> Mapping[str, VariableDef]:
    """Return an entry for each variable's op: that of a collection, else one made from the ops."""
    found = {
        each.op: VariableDef(
            variable_name=f"{each.op}:0",
            initializer_name=each.assign or "",
            initial_value_name=each.initial_value or "",
            snapshot_name=each.read or "",
            is_resource=each.resource,
            trainable=each.trainable,
        )
        for each in variables(graph).values()
    }
    for key in GLOBAL_VARIABLES:
        for entry in variable_defs(graph, key):
            if (op := TensorRef.parse(entry.variable_name).op) in found and entry.initializer_name:
                found[op] = entry
    return found


def _marked(raw: bytes, ops: Collection[str]) -> bytes:
    entry = entry_of(VariableDef, raw)
    if TensorRef.parse(entry.variable_name).op not in ops:
        return raw
    entry.trainable = True
    return entry.SerializeToString()
