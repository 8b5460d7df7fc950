"""Input pipelines: the tensors by which rows of iterators, queues and readers enter a network, and their shapes."""

from collections.abc import Collection, Iterator

from ckpttool.core.dtypes import STRING
from ckpttool.core.shapes import PartialShape
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import (
    BROADCASTING,
    CASES,
    CONDITIONALS,
    ELEMENTWISE,
    FORMS,
    MERGES,
    PLACEHOLDERS,
    SELECTS,
    STREAMS,
    SWITCHES,
    TEXT_PARSERS,
    VARIABLES,
)
from ckpttool.graph.rewrite.functions import called_functions

_KEEPS_SHAPE = ELEMENTWISE | BROADCASTING
_STRINGS_STAY = FORMS | {"IdentityN"}


def pipeline_ends(
    graph: Graph, needed: Collection[str] | None = None, stop: Collection[TensorRef] = ()
) -> list[TensorRef]:
    """Return the end tensors of the pipelines that supply rows to the `needed` ops; without these, to variables.

    The tensors of `stop` supply rows already: other outputs of the same ops are then included only if needed ops read
    them.

    If a conditional selects one of several pipelines, its output is the end of all. Parsing serialised records and
    encoded images is part of the pipeline, which ends with numbers.
    """
    sources = _sources(graph, needed)
    tensors = [ref for ref in graph.readers if ref.op in sources and ref not in stop]
    if stop and needed is not None:
        tensors = [ref for ref in tensors if not {*needed}.isdisjoint(graph.readers[ref])]
    ends = _defaults(graph, _joined(graph, {*tensors}))
    order = {name: place for place, name in enumerate(graph.nodes)}
    found = _as_batches(graph, {end for ref in ends for end in _as_numbers(graph, ref)})
    return sorted(found, key=lambda ref: (order[ref.op], ref.index))


def is_stream(graph: Graph, name: str) -> bool:
    """Return whether an op, or a conditional by its branches, supplies rows without being fed.

    Ops that run a graph stored in a value are excluded, so that they are not cut off but refused by the gate.
    """
    node, streaming = graph.nodes[name], _streaming_functions(graph)
    if name in _of_hidden_graphs(graph):
        return False
    return _brings_rows(node) or (
        node.op in CONDITIONALS | CASES
        and not streaming.isdisjoint(called_functions(graph.header.graph_def.library, [node]))
    )


def _brings_rows(node: NodeDef) -> bool:
    """Return whether an op supplies rows; a scalar element of a data set is not a row."""
    if node.op == "DatasetToSingleElement" and "output_shapes" in node.attr:
        return [known_shape(shape) for shape in node.attr["output_shapes"].list.shape[:1]] != [()]
    return node.op in STREAMS


@cached
def _streaming_functions(graph: Graph) -> frozenset[str]:
    """Return the names of the functions that contain an op that supplies rows."""
    functions = graph.header.graph_def.library.function
    return frozenset(each.signature.name for each in functions if any(map(_brings_rows, each.node_def)))


@cached
def _of_hidden_graphs(graph: Graph) -> frozenset[str]:
    """Return the ops that run a graph stored in a value, also in a function, and those that depend on them."""
    library = graph.header.graph_def.library
    hiding = {each.signature.name for each in library.function if any(map(_runs_a_value, each.node_def))}
    begin = [
        name
        for name, node in graph.nodes.items()
        if _runs_a_value(node) or (hiding and not hiding.isdisjoint(called_functions(library, [node])))
    ]
    return frozenset({*begin, *graph.descendants(begin)} if begin else ())


def _runs_a_value(node: NodeDef) -> bool:
    return node.op == "DatasetFromGraph"


def streamed_shape(graph: Graph, ref: TensorRef) -> PartialShape | None:
    """Return the shape of a pipeline's tensor, as far as the graph specifies it, or None."""
    noted = known_shape(shape_of_output(graph, ref))
    if noted is not None:
        return noted
    node = graph.nodes[ref.op]
    if "output_shapes" in node.attr and ref.index < len(node.attr["output_shapes"].list.shape):
        return known_shape(node.attr["output_shapes"].list.shape[ref.index])
    queue = graph.nodes[graph.inputs(ref.op)[0].op] if graph.inputs(ref.op) else node
    if node.op in STREAMS and "shapes" in queue.attr and ref.index < len(queue.attr["shapes"].list.shape):
        row = known_shape(queue.attr["shapes"].list.shape[ref.index])
        return row if row is None or ("Many" not in node.op and "UpTo" not in node.op) else (None, *row)
    return None


def _sources(graph: Graph, needed: Collection[str] | None) -> set[str]:
    """Return the ops that supply rows to needed ops; if these are unknown, to ops that depend on variables."""
    streams = [name for name in graph.nodes if (needed is None or name in needed) and is_stream(graph, name)]
    if needed is not None or not streams:
        return {*streams}
    learned = graph.descendants(name for name, node in graph.nodes.items() if node.op in VARIABLES)
    return {name for name in streams if not learned or not learned.isdisjoint(graph.descendants([name]))}


def _joined(graph: Graph, tensors: set[TensorRef]) -> set[TensorRef]:
    """Replace pipelines by the output of a conditional that selects one of them."""
    for name, node in graph.nodes.items() if tensors else ():
        if node.op not in MERGES and node.op not in SELECTS:
            continue
        sides = graph.inputs(name) if node.op in MERGES else graph.inputs(name)[1:]
        traced = [list(_passed(graph, ref)) for ref in sides]
        if traced and all(path[-1] in tensors for path in traced):
            inner = {name, *(ref.op for path in traced for ref in path)}
            alone = {path[-1] for path in traced if inner.issuperset(graph.readers[path[-1]])}
            tensors = {*(tensors - alone), TensorRef(name, 0)}
    return tensors


def _defaults(graph: Graph, tensors: set[TensorRef]) -> set[TensorRef]:
    """Replace a pipeline by the placeholder whose default it is."""
    ends: set[TensorRef] = set()
    for ref in tensors:
        readers = graph.readers[ref]
        fed = [TensorRef(name, 0) for name in readers if graph.nodes[name].op in PLACEHOLDERS]
        ends.update(fed)
        if len(fed) < len(readers):
            ends.add(ref)
    return ends


def _passed(graph: Graph, ref: TensorRef) -> Iterator[TensorRef]:
    """Yield a tensor, and the tensors from which it was passed on through switches and identities."""
    yield ref
    while graph.nodes[ref.op].op in SWITCHES | {"Identity"}:
        ref = graph.inputs(ref.op)[0]
        yield ref


def _as_batches(graph: Graph, tensors: set[TensorRef]) -> set[TensorRef]:
    """Replace single rows by batches of one, if the graph makes them; single rows are known by a scalar among them."""
    if all(streamed_shape(graph, ref) != () for ref in tensors):
        return tensors
    batches = {ref: _batch_of_one(graph, ref) for ref in tensors}
    made = {batch for batch in batches.values() if batch is not None}
    return made if None not in batches.values() else tensors


def _batch_of_one(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the tensor in which a first dimension of 1 is added, possibly after ops that keep the shape; or None."""
    shape, todo, seen = streamed_shape(graph, ref), [ref], {ref}
    for each in todo if shape is not None else ():
        for reader in graph.readers.get(each, ()):
            made = TensorRef(reader, 0)
            if known_shape(shape_of_output(graph, made)) == (1, *(shape or ())):
                return made
            if graph.nodes[reader].op in _KEEPS_SHAPE and made not in seen:
                seen.add(made)
                todo.append(made)
    return None


def _as_numbers(graph: Graph, ref: TensorRef) -> list[TensorRef]:
    """Return the tensors that parsers make from a string tensor; the tensor itself if other ops read it too."""
    if dtype_of_output(graph, ref) is not STRING:
        return [ref]
    ends: list[TensorRef] = []
    for reader in graph.readers.get(ref, ()):
        if graph.nodes[reader].op not in TEXT_PARSERS and graph.nodes[reader].op not in _STRINGS_STAY:
            return [ref]
        for made in (each for each in graph.readers if each.op == reader):
            ends.extend(_as_numbers(graph, made))
    return ends or [ref]
