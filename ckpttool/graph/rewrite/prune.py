"""Extracting a part of a graph: the ops on which some targets depend, and their entries in the collections."""

from collections.abc import Collection, Container, Iterable, Sequence

from ckpttool.core.names import layer_of
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDefLibrary, NodeDef
from ckpttool.graph.contents.averages import averages
from ckpttool.graph.contents.batch_norms import batch_norms
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import EXITS
from ckpttool.graph.rewrite.collections import keep_what_holds, pivots
from ckpttool.graph.rewrite.draft import Draft, redirect
from ckpttool.graph.rewrite.functions import called_functions

UPDATE_OPS = "update_ops"
REGULARIZATION_LOSSES = "regularization_losses"
TABLE_INITIALIZERS = "table_initializer"


def subgraph(graph: Graph, targets: Sequence[str], boundary: Collection[str] = (), initializers: bool = False) -> Graph:
    """Return the part on which `targets` (tensors or ops) depend, with control inputs, down to the `boundary` tensors.

    The boundary's tensors are read but not computed: `import_graph_def(input_map=...)` supplies them. Control inputs
    from removed ops are removed. With `initializers`, variables keep the ops that `import_meta_graph` requires (the
    assign op, the initial value, the snapshot), and tables their initialisers.

    Raises:
        UnknownName: a target is not in the graph.
        GraphError: an op reads one that is not in the graph.
    """
    return keep(graph, part_ops(graph, targets, boundary, initializers))


def part_ops(
    graph: Graph, targets: Sequence[str], boundary: Collection[str] = (), initializers: bool = False
) -> set[str]:
    """Return the ops of the part that `subgraph` extracts."""
    stop = {TensorRef.parse(text) for text in boundary}
    for target in targets:
        graph.op(TensorRef.parse(target).op)
    kept = needed(graph, targets, stop)
    return _with_initializers(graph, kept, stop) if initializers else kept


def needed(
    graph: Graph, targets: Iterable[str], stop: Collection[TensorRef] = (), known: Collection[str] = ()
) -> set[str]:
    """Return the ops on which targets depend through data and control inputs, not followed beyond `stop`.

    `known` is a result of this function, which is included.

    Raises:
        GraphError: an op reads one that is not in the graph.
    """
    starts = (ref.op for ref in map(TensorRef.parse, targets) if ref not in stop)
    return graph.ancestors(*starts, control=True, stop=stop, known=known)


def keep(graph: Graph, ops: Container[str]) -> Graph:
    """Return a graph with these ops only, and the functions, collections, signatures and savers that they need.

    Control inputs from removed ops, and colocations with them, are removed.
    """
    draft = Draft(graph)
    prune(draft, ops)
    return draft.sealed()


def prune(draft: Draft, ops: Container[str]) -> None:
    """Apply `keep` to a draft."""
    draft.nodes = {name: node for name, node in draft.nodes.items() if name in ops}
    for name, node in list(draft.nodes.items()):
        inputs = [text for text in node.input if not text.startswith("^") or text[1:] in ops]
        if len(inputs) != len(node.input):
            draft.op(name).input[:] = inputs
        if has_lost_colocation(node, ops):
            drop_lost_colocations(draft.op(name), ops)
    library = draft.header.graph_def.library
    if library.function:
        called = called_functions(library, draft.nodes.values())
        functions = [function for function in library.function if function.signature.name in called]
        gradients = [gradient for gradient in library.gradient if gradient.function_name in called]
        library.CopyFrom(FunctionDefLibrary(function=functions, gradient=gradients))
    keep_what_holds(draft.header, ops)


def without_updates(graph: Graph, updates: Collection[str]) -> Graph:
    """Return the graph without some ops that change variables; readers of their result read the variable.

    They are also removed from control inputs and collections.
    """
    if not updates:
        return graph
    replacements = {TensorRef(op, 0): graph.inputs(op)[0] for op in updates}
    draft = Draft(graph)
    for ref in replacements:
        for reader in graph.consumers[ref.op]:
            while any(graph.refs[text] in replacements for text in draft.nodes[reader].input):
                redirect(draft.op(reader), replacements)
    return keep(draft.sealed(), graph.nodes.keys() - set(updates))


def without_training(graph: Graph, targets: Sequence[str]) -> Graph:
    """Return the forward part on which `targets` (logits, loss, accuracy, inputs) depend, for a new training op.

    Gradients, optimizer ops, slots, savers and summaries are removed. Variables keep their initialisers, and moving
    averages of kept tensors their updates. REGULARIZATION_LOSSES keeps the penalties on kept variables.

    Raises:
        UnknownName: a target is not in the graph.
    """
    kept = part_ops(graph, targets, initializers=True)
    penalties = [TensorRef.parse(text).op for text in graph.collection(REGULARIZATION_LOSSES)]
    lost = graph.descendants(variable.op for variable in variables(graph).values() if variable.op not in kept)
    held = [*targets, *(op for op in penalties if op in graph.nodes and op not in lost)]
    return with_updates(graph, [*held, *_unread(graph, kept)])


def _unread(graph: Graph, kept: Container[str]) -> list[str]:
    """Return the unread variables of kept layers in a Keras network, whose values are in the Keras file.

    Examples are the row count of an adapted normalisation, and the deviations of a renormalisation.
    """
    if keras_network(graph) is None:
        return []
    weights = {each.name: each.op for each in variables(graph).values() if each.kind == "weight"}
    layers = {layer_of(name) for name, op in weights.items() if op in kept}
    return [op for name, op in weights.items() if op not in kept and layer_of(name) in layers]


def with_updates(graph: Graph, targets: Sequence[str]) -> Graph:
    """Return the part that `subgraph` extracts, with initialisers, and with the updates of its moving averages.

    The updates are listed in UPDATE_OPS, so that training runs them, including those that were only control inputs of
    an old training op.

    Raises:
        UnknownName: a target is not in the graph.
    """
    kept = part_ops(graph, targets, initializers=True)
    listed, others = _updates(graph, kept)
    part = keep(graph, _with_initializers(graph, needed(graph, [*listed, *others], known=kept), set()))
    if not others:
        return part
    header = part.header_copy()
    header.collection_def[UPDATE_OPS].node_list.value.extend(others)
    return part.having(header=header)


def _updates(graph: Graph, kept: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the ops of UPDATE_OPS that depend on no removed variable, and other updates of kept tensors' averages.

    The average itself may be unneeded: if a normalisation is always in training mode, only the update reads it.
    """
    held = [average for average in averages(graph) if average.statistic[-1].op in kept]
    moved = {op for average in held for op in (average.variable, *average.helpers)}
    left = (
        variable.op for variable in variables(graph).values() if variable.op not in kept and variable.op not in moved
    )
    lost = graph.descendants(left, control=True)
    listed = [TensorRef.parse(text).op for text in graph.collection(UPDATE_OPS)]
    listed = [op for op in listed if op in graph.nodes and op not in lost]
    known = needed(graph, listed) | set(kept)
    own = {op for norm in batch_norms(graph) if norm.op in kept for op in norm.averages or ()} | set(kept)
    others = [name for average in held if average.variable in own for name in average.updates]
    return listed, [name for name in dict.fromkeys(others) if name not in known and name not in lost]


def _with_initializers(graph: Graph, kept: set[str], stop: set[TensorRef]) -> set[str]:
    """Add the initialisers of kept variables and tables, the variables on which these depend, and exits of kept loops.

    No op depends on a table's initialiser, but lookups need it. Exits are kept even for values that no op reads,
    because the gradients of these values start there, at zero.
    """
    tables = [name for name in graph.collection(TABLE_INITIALIZERS) if name in graph.nodes]
    tables = [name for name in tables if graph.inputs(name)]
    exits = [name for name, node in graph.nodes.items() if node.op in EXITS]
    while True:
        extra = [
            name
            for variable in variables(graph).values()
            if variable.op in kept
            for name in (variable.assign, variable.initial_value, variable.read)
            if name and TensorRef.parse(name).op in graph.nodes
        ]
        extra += [name for name in tables if graph.inputs(name)[0].op in kept]
        extra += [name for name in exits if all(ref.op in kept for ref in graph.inputs(name))]
        extra += [name for name in pivots(graph.header, kept) if TensorRef.parse(name).op in graph.nodes]
        grown = needed(graph, extra, stop, kept)
        if len(grown) == len(kept):
            return kept
        kept = grown


def has_lost_colocation(node: NodeDef, ops: Container[str]) -> bool:
    """Return whether an op has a colocation (`loc:@op`) with a removed op."""
    return "_class" in node.attr and any(_is_lost(raw, ops) for raw in node.attr["_class"].list.s)


def drop_lost_colocations(node: NodeDef, ops: Container[str]) -> None:
    """Drop `_class` entries (`loc:@op`) that name ops which are gone: TensorFlow refuses to import them."""
    if has_lost_colocation(node, ops):
        places = [raw for raw in node.attr["_class"].list.s if not _is_lost(raw, ops)]
        node.attr["_class"].list.s[:] = places
        if not places:
            del node.attr["_class"]


def _is_lost(location: bytes, ops: Container[str]) -> bool:
    return location.startswith(b"loc:@") and location[5:].decode("utf-8", "replace") not in ops
