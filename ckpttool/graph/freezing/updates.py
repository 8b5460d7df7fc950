"""Freezing: gradients stopped at a cut, and updates of frozen variables removed from the training op."""

from collections.abc import Collection, Sequence

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.variable_ops import written_variable
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.contents.weight_updates import weight_updates
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.freezing.moving_averages import with_moving_averages
from ckpttool.graph.ops import RESTORES
from ckpttool.graph.rewrite.collections import VARIABLE_COLLECTIONS, is_there
from ckpttool.graph.rewrite.draft import Draft, input_text, type_attr
from ckpttool.graph.rewrite.prune import UPDATE_OPS, needed, without_updates

TRAIN_OP = "train_op"
TRAINABLE_VARIABLES = "trainable_variables"


def stop_gradient(graph: Graph, tensors: Collection[str], readers: Collection[str] | None = None) -> Graph:
    """Return the graph with a StopGradient op at each tensor, `<op>/stop_gradient`, which its readers read instead.

    `readers` (all ops by default) are the ops to redirect: usually the rest of the forward graph, so that existing
    gradient ops still read the original tensors.

    Raises:
        UnknownName: a tensor's op is not in the graph.
    """
    names, draft, stops = FreeNames(graph.nodes), Draft(graph), dict[TensorRef, TensorRef]()
    for ref in map(TensorRef.parse, tensors):
        name = names.free(f"{graph.op(ref.op).name}/stop_gradient")
        stop = NodeDef(name=name, op="StopGradient", input=[input_text(ref)])
        stop.attr["T"].CopyFrom(type_attr(dtype_of_output(graph, ref).number))
        stops[ref] = TensorRef(name, 0)
        draft.add(stop, behind=ref.op)
    draft.redirect(stops, readers)
    return draft.sealed()


def stop_at_cut(graph: Graph, part: FrozenPart, targets: Collection[str]) -> Graph:
    """Return the graph in which no gradient of the targets enters the frozen part.

    Gradients are stopped at the features, and at other tensors of frozen variables: a penalty on a frozen kernel reads
    the kernel itself. If a penalty reads it by its handle, the gradient is stopped at that read.
    """
    readers = graph.ancestors(*(TensorRef.parse(name).op for name in targets)) - part.ops
    held = {variables(graph)[key].op for key in part.variables}
    leaving = [text for text in part.constants if held & graph.ancestors(TensorRef.parse(text).op)]
    stops = []
    for text in (*part.features, *leaving):
        ref = TensorRef.parse(text)
        if graph.nodes[ref.op].op == "VarHandleOp":
            reads = [name for name in graph.consumers[ref.op] if name in readers]
            stops += [f"{name}:0" for name in reads if graph.nodes[name].op == "ReadVariableOp"]
        elif any(kind in dtype_of_output(graph, ref).name for kind in ("float", "complex")):
            stops.append(text)  # only these have gradients
    return stop_gradient(graph, stops, readers)


def drop_updates(
    graph: Graph, names: Collection[str], moving: Collection[str] = (), targets: Sequence[str] = ()
) -> Graph:
    """Return the graph without the ops that change the named variables (checkpoint names) in training.

    These are the optimizer's update ops, and the assigns (moving averages) that training, UPDATE_OPS or the computation
    of `targets` runs. They are removed from control dependencies and collections; ops that read their result read the
    variable. Moving averages of completely frozen layers (except those in `moving`) and slots of frozen variables are
    included. Initialisers and savers are kept, and so are the slots themselves, because the saver names them.

    Raises:
        UnknownName: a name is not one of the graph's variables.
    """
    frozen = with_moving_averages(graph, names, moving)
    described = variables(graph)
    owners = {described[key].name for key in frozen}
    # Sparse updates of an embedding are made of assigns to each of its slots.
    slots = [key for key, each in described.items() if each.owner in owners]
    return without_updates(graph, update_ops(graph, [*frozen, *slots], targets))


def update_ops(graph: Graph, names: Collection[str] | None = None, targets: Sequence[str] = ()) -> list[str]:
    """Return the ops that change the named variables (all by default) when the graph is trained, in graph order.

    Ops that run already when `targets` (the loss) are computed are included.
    """
    described = variables(graph)
    chosen = set(described if names is None else names)
    wanted = {v.op for key, v in described.items() if key in chosen or v.name in chosen}
    initial = {variable.assign for variable in described.values()}
    trained = _training_ops(graph) | needed(graph, [text for text in targets if is_there(text, graph.nodes)])
    writers = [name for name in graph.nodes if name in trained and name not in initial]
    writers = [name for name in writers if written_variable(graph, name) in wanted]
    return [name for name in writers if all(graph.nodes[ref.op].op not in RESTORES for ref in graph.inputs(name)[1:])]


def updated_variables(graph: Graph, training_op: str) -> set[str]:
    """Return the variables (keys of `variables`) that running an op changes, except slots of optimizers' own ops.

    Raises:
        UnknownName: the op is not in the graph.
    """
    run = needed(graph, [graph.op(TensorRef.parse(training_op).op).name])
    written = {written_variable(graph, name) for name in run}
    return {key for key, variable in variables(graph).items() if variable.op in written}


def _training_ops(graph: Graph) -> set[str]:
    """Return the ops of a training step: optimizers' updates, ops that wait for these, UPDATE_OPS, their ancestors."""
    updates = weight_updates(graph)
    roots = set(updates)
    for name in graph.collection(TRAIN_OP) + graph.collection(UPDATE_OPS):
        roots |= {TensorRef.parse(name).op} & graph.nodes.keys()
    todo = list(updates)
    while todo:
        followers = graph.users.get(todo.pop(), set()) - roots
        roots |= followers
        todo.extend(followers)
    return needed(graph, roots)


def untrainable(graph: Graph, names: Collection[str]) -> Graph:
    """Return the graph with the named variables (checkpoint names) removed from TRAINABLE_VARIABLES."""
    chosen = set(names)
    ops = {v.op for key, v in variables(graph).items() if key in chosen or v.name in chosen}
    header = graph.header_copy()
    for key in VARIABLE_COLLECTIONS & header.collection_def.keys():
        collection = header.collection_def[key]
        drop = key == TRAINABLE_VARIABLES
        entries = [entry for raw in collection.bytes_list.value if (entry := _marked(raw, ops, drop)) is not None]
        texts = [text for text in collection.node_list.value if not (drop and TensorRef.parse(text).op in ops)]
        if collection.WhichOneof("kind") == "bytes_list":
            collection.bytes_list.value[:] = entries
        else:
            collection.node_list.value[:] = texts
        if not entries and not texts:
            del header.collection_def[key]
    return graph.having(header=header)


def _marked(raw: bytes, frozen: Collection[str], drop: bool) -> bytes | None:
    """Return an entry, marked as not trainable if its variable is frozen; None for such an entry with `drop`."""
    entry = entry_of(VariableDef, raw)
    if TensorRef.parse(entry.variable_name).op not in frozen:
        return raw
    entry.trainable = False
    return None if drop else entry.SerializeToString()
