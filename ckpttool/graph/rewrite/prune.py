"""Cutting a part out of a graph: the ops that some targets need, and what the collections say of them."""

from collections.abc import Collection, Container, Iterable, Sequence

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDefLibrary, NodeDef
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import EXITS
from ckpttool.graph.rewrite.collections import keep_what_holds, pivots
from ckpttool.graph.rewrite.draft import Draft

UPDATE_OPS = "update_ops"
REGULARIZATION_LOSSES = "regularization_losses"
TABLE_INITIALIZERS = "table_initializer"


def subgraph(graph: Graph, targets: Sequence[str], boundary: Collection[str] = (), initializers: bool = False) -> Graph:
    """Return the part that `targets` (tensors or ops) need, control inputs included, down to the `boundary` tensors.

    The boundary's tensors are still read but no longer made: `import_graph_def(input_map=...)` supplies them. Nodes
    that wait for an op which is left out no longer do. With `initializers` the kept variables keep what
    `import_meta_graph` asks for: the assign op, the initial value, the snapshot; and kept tables their initialisers.

    Raises:
        UnknownName: a target is not in the graph.
        GraphError: an op reads one that is not in the graph.
    """
    stop = {TensorRef.parse(text) for text in boundary}
    for target in targets:
        graph.op(TensorRef.parse(target).op)
    kept = needed(graph, targets, stop)
    if initializers:
        kept = _with_initializers(graph, kept, targets, stop)
    return keep(graph, kept)


def needed(graph: Graph, targets: Iterable[str], stop: Collection[TensorRef] = ()) -> set[str]:
    """Return the ops that targets need, walking back through data and control inputs but not through `stop`.

    Raises:
        GraphError: an op reads one that is not in the graph.
    """
    starts = (ref.op for ref in map(TensorRef.parse, targets) if ref not in stop)
    return graph.ancestors(*starts, control=True, stop=stop)


def keep(graph: Graph, ops: Container[str]) -> Graph:
    """Return a graph with these ops only; functions, collections, signatures and savers follow.

    Control inputs from, and colocations with, ops that are left out are dropped.
    """
    draft = Draft(graph)
    draft.nodes = {name: node for name, node in graph.nodes.items() if name in ops}
    for name in list(draft.nodes):
        _forget(draft, name, ops)
    _filter_library(draft)
    keep_what_holds(draft.header, ops)
    return draft.sealed()


def without_training(graph: Graph, targets: Sequence[str]) -> Graph:
    """Return the forward part that `targets` (logits, loss, accuracy, inputs) need, ready for a new training op.

    Gradients, optimizer ops, slots, savers and summaries are left behind. Variables keep their initialisers. Of the
    collections, UPDATE_OPS keeps the moving averages of kept variables, REGULARIZATION_LOSSES the penalties on them.

    Raises:
        UnknownName: a target is not in the graph.
    """
    kept = subgraph(graph, targets, initializers=True).nodes
    return subgraph(graph, [*targets, *_side_targets(graph, kept)], initializers=True)


def _side_targets(graph: Graph, kept: Container[str]) -> list[str]:
    """Return the members of the collections beside the forward part that depend on kept variables only."""
    left = (variable.op for variable in variables(graph).values() if variable.op not in kept)
    lost = graph.descendants(left, control=True)
    sides = (TensorRef.parse(text).op for key in (UPDATE_OPS, REGULARIZATION_LOSSES) for text in graph.collection(key))
    return [op for op in sides if op in graph.nodes and op not in lost]


def _with_initializers(graph: Graph, kept: set[str], targets: Sequence[str], stop: set[TensorRef]) -> set[str]:
    """Add what initialises the kept variables and tables, the variables that this needs in turn, and loops' own ops."""
    described = variables(graph)
    while True:
        extra = [name for variable in described.values() if variable.op in kept for name in _belongings(variable)]
        extra += _table_initializers(graph, kept)
        extra += [*_exits(graph, kept), *pivots(graph.header, kept)]
        grown = needed(graph, [*targets, *(name for name in extra if TensorRef.parse(name).op in graph.nodes)], stop)
        if grown <= kept:
            return kept
        kept |= grown


def _belongings(variable: Variable) -> list[str]:
    return [name for name in (variable.assign, variable.initial_value, variable.read) if name]


def _table_initializers(graph: Graph, kept: Container[str]) -> list[str]:
    """Return the initialisers of kept look-up tables; nothing that is computed needs them, and all look-ups do."""
    names = [name for name in graph.collection(TABLE_INITIALIZERS) if name in graph.nodes]
    return [name for name in names if graph.inputs(name) and graph.inputs(name)[0].op in kept]


def _exits(graph: Graph, kept: Collection[str]) -> list[str]:
    """Return the exits of kept loops, also of those values that nothing reads: their gradients start there, at zero."""
    exits = [name for name, node in graph.nodes.items() if node.op in EXITS]
    return [name for name in exits if all(ref.op in kept for ref in graph.inputs(name))]


def _forget(draft: Draft, name: str, ops: Container[str]) -> None:
    """Drop an op's control inputs from ops that are gone, and its colocation with them."""
    node = draft.nodes[name]
    texts = [text for text in node.input if not text.startswith("^") or text[1:] in ops]
    if len(texts) != len(node.input):
        draft.op(name).input[:] = texts
    if has_lost_colocation(node, ops):
        drop_lost_colocations(draft.op(name), ops)


def has_lost_colocation(node: NodeDef, ops: Container[str]) -> bool:
    """Say whether an op is to be where another one is (`loc:@op`) that is gone."""
    return "_class" in node.attr and any(_is_lost(raw, ops) for raw in node.attr["_class"].list.s)


def _is_lost(location: bytes, ops: Container[str]) -> bool:
    return location.startswith(b"loc:@") and location[5:].decode("utf-8", "replace") not in ops


def drop_lost_colocations(node: NodeDef, ops: Container[str]) -> None:
    """Drop `_class` entries (`loc:@op`) that name ops which are gone: TensorFlow refuses to import them."""
    if "_class" not in node.attr:
        return
    places = node.attr["_class"].list.s
    kept = [raw for raw in places if not _is_lost(raw, ops)]
    if len(kept) == len(places):
        return
    del places[:]
    places.extend(kept)
    if not kept:
        del node.attr["_class"]


def _filter_library(draft: Draft) -> None:
    """Keep the functions that the ops call, and those that these call; gradients of kept functions too."""
    library = draft.header.graph_def.library
    if not library.function:
        return
    kept = called_functions(library, draft.nodes.values())
    filtered = FunctionDefLibrary(
        function=[function for function in library.function if function.signature.name in kept],
        gradient=[gradient for gradient in library.gradient if gradient.function_name in kept],
    )
    library.CopyFrom(filtered)


def called_functions(library: FunctionDefLibrary, nodes: Iterable[NodeDef]) -> set[str]:
    """Return the names of the functions of a library that nodes call, directly or through others."""
    bodies = {function.signature.name: function for function in library.function}
    gradients = {gradient.function_name: gradient.gradient_func for gradient in library.gradient}
    found: set[str] = set()
    todo = [name for node in nodes for name in _mentioned(node)]
    while todo:
        name = todo.pop()
        if name in found or name not in bodies:
            continue
        found.add(name)
        todo.extend(mentioned for node in bodies[name].node_def for mentioned in _mentioned(node))
        todo.append(gradients.get(name, ""))
        todo.extend(value.s.decode("utf-8", "replace") for value in bodies[name].attr.values() if value.s)
    return found


def _mentioned(node: NodeDef) -> list[str]:
    """Return what may be functions' names in a node: its type, and the functions in its attributes."""
    return [node.op] + [name for value in node.attr.values() for name in _functions_of(value)]


def _functions_of(value: AttrValue) -> list[str]:
    if value.WhichOneof("value") == "func":
        return [value.func.name, *(name for inner in value.func.attr.values() for name in _functions_of(inner))]
    return [function.name for function in value.list.func] if value.WhichOneof("value") == "list" else []
