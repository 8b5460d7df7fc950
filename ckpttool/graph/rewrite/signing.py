"""Signing: adds signatures to a graph for a SavedModel: to the part that serves, or to a whole graph for training.

A signature names tensors. If training and serving compute different values (a batch normalisation without a switch),
the ops for serving are added to the whole graph in the scope `serving`, and use the same variables.
"""

from collections.abc import Mapping

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckpttool.graph.contents.op_outputs import dtype_of_output, shape_of_output
from ckpttool.graph.contents.signatures import DEFAULT, input_arguments, signatures
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import ENTERS, PLACEHOLDERS, REQUIRED_PLACEHOLDERS
from ckpttool.graph.rewrite.draft import Draft, copy_of, free_name, redirect
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import TABLE_INITIALIZERS
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.serving import serving_part, switched_off
from ckpttool.graph.roles.placeholders import mode_placeholders
from ckpttool.graph.roles.served import Served

SERVE = "serve"
"""The tag of graphs for serving."""
PREDICT = "tensorflow/serving/predict"
"""The method name of a signature with arbitrary names of inputs and outputs."""
MAIN_OP = "saved_model_main_op"
"""The collection with the op that is run once when a graph is loaded."""
_LEGACY = "legacy_init_op"
"""Its key in older versions of TensorFlow."""
_SCOPE = "serving"


def signature_of(graph: Graph, serves: Served) -> SignatureDef:
    """Return the signature of inputs and outputs, with their dtypes and static shapes in the graph."""
    sides = [{key: _info(graph, tensor) for key, tensor in side.items()} for side in (serves.inputs, serves.outputs)]
    return SignatureDef(inputs=sides[0], outputs=sides[1], method_name=PREDICT)


def signed(graph: Graph, named: Mapping[str, SignatureDef]) -> Graph:
    """Return the graph tagged `serve`, with only these signatures, and an op that initialises its tables on loading.

    TensorFlow 2's object graph is removed, because it names functions that no longer exist.
    """
    fields = ("meta_info_def", "graph_def", "saver_def", "collection_def", "asset_file_def")
    header = MetaGraphDef(**{field: getattr(graph.bare_header, field) for field in fields})
    if not graph.header.HasField("saver_def"):
        header.ClearField("saver_def")
    nodes = list(graph.nodes.values())
    del header.meta_info_def.tags[:]
    header.meta_info_def.tags.append(SERVE)
    for name, signature in named.items():
        header.signature_def[name].CopyFrom(signature)
    tables = [op for op in graph.collection(TABLE_INITIALIZERS) if op in graph.nodes]
    if tables and not any(key in header.collection_def for key in (MAIN_OP, _LEGACY)):
        main = free_name("init_tables", graph.nodes)
        nodes.append(NodeDef(name=main, op="NoOp", input=[f"^{op}" for op in tables]))
        header.collection_def[MAIN_OP].node_list.value.append(main)
    return graph.having(nodes, header)


def _info(graph: Graph, tensor: str) -> TensorInfo:
    ref = TensorRef.parse(tensor)
    number = dtype_of_output(graph, ref).number
    return TensorInfo(name=tensor, dtype=number, tensor_shape=shape_of_output(graph, ref))  # type: ignore[arg-type]


def require_fed(graph: Graph, served: Served) -> None:
    """Check that every placeholder of a part is fed, has a default, or is a training switch (then False).

    Raises:
        PlanError: a placeholder is not fed; the message names it and the remedy.
    """
    fed = served.fed.union(mode_placeholders(graph))
    unfed = [name for name, node in graph.nodes.items() if node.op in REQUIRED_PLACEHOLDERS and name not in fed]
    if unfed:
        raise PlanError(
            f"{graph.source}: the outputs need {listed(unfed)}, fed by neither an input nor a "
            f"default; specify all `inputs`, or other `outputs`"
        )


def served_whole(graph: Graph) -> tuple[Graph, list[str]]:
    """Return a whole graph in the form for a SavedModel, from which training can continue, and notes.

    Its signatures are kept; without any, `serving_default` is added for the outputs that `roles.served` finds, in
    inference mode. Training switches are False unless they are fed. Reference variables become resource variables.

    Raises:
        GraphError: an op has no form for resource variables.
    """
    fed = {TensorRef.parse(tensor).op for tensor in input_arguments(graph)}
    whole = to_resource(switched_off(importable(graph), fed))
    if not whole.header.HasField("saver_def"):
        whole = with_saver(whole)
    if signatures(whole):
        return signed(whole, whole.header.signature_def), []
    try:
        serving = serving_part(whole)
        require_fed(serving.part, serving.served)
    except (GraphError, PlanError, UnknownName) as error:
        return signed(whole, {}), [f"without a signature: {error}"]
    joined, serves = _beside(whole, serving.part, serving.served)
    return signed(joined, {DEFAULT: signature_of(joined, serves)}), list(serving.notes)


def _beside(whole: Graph, part: Graph, serves: Served) -> tuple[Graph, Served]:
    """Return the whole graph with the added ops of a part that serves, and the names of the served tensors in it.

    A part that consists of the whole graph's own ops adds none. Stateful ops and fed placeholders are shared.
    """
    needed = part.ancestors(*(TensorRef.parse(tensor).op for tensor in serves.outputs.values()))
    if all(_is_same(part.nodes[name], whole.nodes.get(name)) for name in needed):
        return whole, serves
    names = FreeNames([*whole.nodes, *part.nodes])
    moved = {
        name: names.free(f"{_SCOPE}/{name}") for name in part.nodes if name in needed and not _is_one(part, whole, name)
    }
    places = {TensorRef(name, -1): TensorRef(new, -1) for name, new in moved.items()}
    draft = Draft(whole)
    for name, new in moved.items():
        node = copy_of(part.nodes[name])
        redirect(node, {ref: TensorRef(moved[ref.op], ref.index) for ref in part.inputs(name) if ref.op in moved})
        redirect(node, places)
        node.name = new
        node.attr.pop("_class", None)
        if node.op in ENTERS:
            node.attr["frame_name"].s = f"{_SCOPE}/".encode() + node.attr["frame_name"].s
        draft.add(node)
    draft.add(*(node for name, node in part.nodes.items() if name in needed - whole.nodes.keys() - moved.keys()))

    def called(tensor: str) -> str:
        ref = TensorRef.parse(tensor)
        return str(TensorRef(moved.get(ref.op, ref.op), ref.index))

    sides = [{key: called(tensor) for key, tensor in side.items()} for side in (serves.inputs, serves.outputs)]
    return draft.sealed(), Served(sides[0], sides[1], serves.why)


def _is_one(part: Graph, whole: Graph, name: str) -> bool:
    """Return whether an op of the part is shared with the whole graph: it has state, or is the same placeholder."""
    node = part.nodes[name]
    return "shared_name" in node.attr or (node.op in PLACEHOLDERS and _is_same(node, whole.nodes.get(name)))


def _is_same(node: NodeDef, other: NodeDef | None) -> bool:
    """Return whether two ops are equal apart from their colocations."""
    if node is other or other is None:
        return node is other
    first, second = copy_of(node), copy_of(other)
    for each in (first, second):
        each.attr.pop("_class", None)
    return first == second
