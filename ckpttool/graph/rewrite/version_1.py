"""Conversion of a TensorFlow 2 graph to TensorFlow 1: collections and ops replace the Python objects.

In a SavedModel of TensorFlow 2, the saver is a function, variables are neither listed nor initialised, and the loader
fills the tables. The converted graph can be imported, restored, trained and saved like any TensorFlow 1 graph.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import DType
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import VariableDef
from ckpttool.graph.contents.saved_objects import trained_by_program
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import TABLE_FILLERS
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.op_names import valid_name, with_ops_renamed
from ckpttool.graph.rewrite.prune import TABLE_INITIALIZERS, keep, needed
from ckpttool.graph.rewrite.saved_tables import with_files_of_tables, with_restored_tables
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.shared_ops import with_shared_ops
from ckpttool.graph.rewrite.thaw import AVERAGES, first_value

_MAIN = "__saved_model_init_op"
"""The key of the pseudo-signature with the op that TensorFlow 2 runs after it has loaded a model."""


@dataclass(frozen=True)
class _Held:
    """A variable that is kept: its op and that op's new name, its name in the checkpoint, shape and dtype."""

    op: str
    new: str
    name: str
    shape: tuple[int, ...]
    dtype: DType
    trainable: bool


def as_version_1(graph: Graph, tensors: Checkpoint) -> Graph:
    """Return the TensorFlow 1 form of a flattened TensorFlow 2 graph whose variables are `named_as_saved`.

    The ops of its signatures are kept, without duplicates, and so are weights that no signature reads. Variables are
    listed in the collections (as trainable if the program trained them), and have initialisers and a saver made of
    ops; their ops are named as in the checkpoint, if these are valid op names. The ops that fill tables are in the
    collection of table initialisers. Other state of the program's objects, such as an optimizer's slots, is dropped.

    Raises:
        CorruptCheckpoint: the checkpoint's object graph is damaged.
    """
    filled, restored = with_restored_tables(with_files_of_tables(graph), tensors)
    shared = _one_op_each(with_shared_ops(filled), tensors)
    computing = needed(shared, _ends(shared))
    fillers = [name for name in _fillers(shared, restored) if shared.inputs(name)[0].op in computing]
    used = computing | needed(shared, fillers)
    held = list(_variables(shared, used, tensors))
    bare = keep(_without_objects(shared), used.union(each.op for each in held))
    return with_saver(_listed(_renamed(bare, held), held, fillers), {each.new: each.name for each in held}).apart()


def _ends(graph: Graph) -> list[str]:
    """Return the ops of the signatures' inputs and outputs."""
    signatures = [signature for name, signature in graph.header.signature_def.items() if name != _MAIN]
    infos = [info for signature in signatures for info in (*signature.inputs.values(), *signature.outputs.values())]
    return [op for info in infos if (op := TensorRef.parse(info.name).op) in graph.nodes]


def _fillers(graph: Graph, restored: Sequence[str]) -> list[str]:
    """Return the ops that fill tables: with the saved content (`restored`), and for other tables the loader's ops."""
    definitions = graph.header.signature_def
    infos = definitions[_MAIN].outputs.values() if _MAIN in definitions else ()
    mains = [TensorRef.parse(info.name).op for info in infos]
    run = needed(graph, [name for name in mains if name in graph.nodes])
    found = [name for name, node in graph.nodes.items() if name in run and node.op in TABLE_FILLERS and node.input]
    saved = {graph.inputs(name)[0].op for name in restored}
    return [*(name for name in found if graph.inputs(name)[0].op not in saved), *restored]


def _one_op_each(graph: Graph, tensors: Collection[str]) -> Graph:
    """Return the graph in which a variable of the checkpoint is read from one op, even if the program made several."""
    draft, first = Draft(graph), dict[str, str]()
    moved = {}
    for op, name in _names(graph, tensors).items():
        if graph.consumers.get(op) and first.setdefault(name, op) != op:
            moved[TensorRef(op, 0)] = TensorRef(first[name], 0)
    draft.redirect(moved)
    return draft.sealed()


def _names(graph: Graph, tensors: Collection[str]) -> dict[str, str]:
    """Return the name in the checkpoint of each variable's op."""
    names = {
        op: node.attr["shared_name"].s.decode("utf-8", "replace")
        for op, node in graph.nodes.items()
        if node.op == "VarHandleOp" and "shared_name" in node.attr
    }
    return {op: name for op, name in names.items() if name in tensors}


def _variables(graph: Graph, used: Collection[str], tensors: Checkpoint) -> Iterator[_Held]:
    """Yield the variables to keep: the used ones in the order of their use, then other weights."""
    trained, kinds, names = trained_by_program(graph, tensors), tensors.kinds(), _names(graph, tensors)
    place = {name: number for number, name in enumerate(graph.nodes)}
    first = {
        op: min((place[user] for user in graph.consumers.get(op, ()) if user in used), default=len(place))
        for op in names
    }
    taken, free = {name for op, name in names.items() if op in used}, FreeNames(())
    for op in sorted(names, key=first.__getitem__):
        spec, name = tensors[names[op]].spec, names[op]
        is_number = "float" in spec.dtype.name
        left = kinds[name] == "weight" and is_number and name not in taken and not name.startswith(EXPORTED_TWICE)
        if op in used or left:
            taken.add(name)
            trainable = trained.get(name, not name.endswith(AVERAGES)) and is_number and kinds[name] == "weight"
            yield _Held(op, free.free(valid_name(name)), name, spec.shape, spec.dtype, trainable)


def _without_objects(graph: Graph) -> Graph:
    """Return the graph without the object graph, saver and main op from which TensorFlow 2 restores Python objects."""
    header = graph.header_copy()
    header.ClearField("object_graph_def")
    header.ClearField("saver_def")
    for definitions, key in ((header.signature_def, _MAIN), (header.collection_def, "saved_model_main_op")):
        if key in definitions:
            del definitions[key]
    return graph.having(header=header)


def _renamed(graph: Graph, held: Sequence[_Held]) -> Graph:
    """Return the graph with renamed variable ops; other ops with these names are renamed, too."""
    names = {each.op: each.new for each in held}
    free = FreeNames([*graph.nodes, *names.values()])
    names |= {each.new: free.free(each.new) for each in held if each.new in graph.nodes and each.new not in names}
    renamed = with_ops_renamed(graph, lambda name: names.get(name, name))
    draft = Draft(renamed)
    for each in held:
        draft.op(each.new).attr["shared_name"].s = each.new.encode()
    return draft.sealed()


def _listed(graph: Graph, held: Sequence[_Held], fillers: Sequence[str]) -> Graph:
    """Return the graph with its variables in the collections, and with their initialisers, before all other ops."""
    draft, names = Draft(graph), FreeNames(graph.nodes)
    first: dict[str, NodeDef] = {}
    for each in held:
        initial = list(first_value(names.free(f"{each.new}/Initializer"), each.shape, each.dtype, each.name))
        assign = NodeDef(
            name=names.free(f"{each.new}/Assign"), op="AssignVariableOp", input=[each.new, initial[-1].name]
        )
        read = NodeDef(name=names.free(f"{each.new}/Read/ReadVariableOp"), op="ReadVariableOp", input=[each.new])
        for node in (assign, read):
            node.attr["dtype"].CopyFrom(type_attr(each.dtype.number))
        first |= {node.name: node for node in (graph.nodes[each.new], *initial, assign, read)}
        entry = VariableDef(
            variable_name=f"{each.new}:0",
            initializer_name=assign.name,
            initial_value_name=f"{initial[-1].name}:0",
            snapshot_name=f"{read.name}:0",
            is_resource=True,
            trainable=each.trainable,
        )
        for key in ("variables", "trainable_variables") if each.trainable else ("variables",):
            draft.header.collection_def[key].bytes_list.value.append(entry.SerializeToString())
    if fillers:
        draft.header.collection_def[TABLE_INITIALIZERS].node_list.value[:] = fillers
    draft.nodes = first | {name: node for name, node in draft.nodes.items() if name not in first}
    return draft.sealed()
