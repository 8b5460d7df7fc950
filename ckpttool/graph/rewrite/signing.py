"""Signing: graphs with signatures, as SavedModels hold them: the part that serves, or all that training goes on with.

A signature names tensors. Where what training computes and what is served differ (a batch normalisation without a
switch), a whole graph has the ops that serve beside its own, in the scope `serving`, with the same variables.
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
"""The tag under which graphs for serving are loaded."""
PREDICT = "tensorflow/serving/predict"
"""The method of a signature whose inputs and outputs are tensors under names of one's own."""
MAIN_OP = "saved_model_main_op"
"""The collection of the op that is run once when a graph is loaded."""
_LEGACY = "legacy_init_op"
"""What older versions called it."""
_SCOPE = "serving"


def signature_of(graph: Graph, serves: Served) -> SignatureDef:
    """Return the signature of inputs and outputs, with the dtypes and shapes that the graph notes for them."""
    sides = [{key: _info(graph, tensor) for key, tensor in side.items()} for side in (serves.inputs, serves.outputs)]
    return SignatureDef(inputs=sides[0], outputs=sides[1], method_name=PREDICT)


def signed(graph: Graph, named: Mapping[str, SignatureDef]) -> Graph:
    """Return the graph tagged `serve`, with these signatures alone, and an op that initialises its tables on loading.

    TensorFlow 2's own description of a graph, as a tree of Python objects, goes: it names functions that are gone.
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
    """Check that every placeholder of a part is fed, has a default, or is a training switch, which is off then.

    Raises:
        PlanError: one is not; the message names it and the way out.
    """
    fed = served.fed.union(mode_placeholders(graph))
    unfed = [name for name, node in graph.nodes.items() if node.op in REQUIRED_PLACEHOLDERS and name not in fed]
    if unfed:
        raise PlanError(
            f"{graph.source}: the outputs need {listed(unfed)}, fed by neither an input nor a "
            f"default; specify all `inputs`, or other `outputs`"
        )


def served_whole(graph: Graph) -> tuple[Graph, list[str]]:
    """Return a whole graph as a SavedModel holds it, and what is to be said of that: training can go on with it.

    It keeps its own signatures; without one, `serving_default` gives what the graph is run for (`roles.served`), in
    inference mode, with training switches off unless they are fed. Reference variables become resource variables.

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
    """Return the whole graph with the ops of a part that serves, and what it serves as it is called there.

    A part that is made of the whole's own ops needs no others. What holds state, and what is fed, is the same op.
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
    """Say whether an op of the part is the whole's own: it holds state, or is fed alike."""
    node = part.nodes[name]
    return "shared_name" in node.attr or (node.op in PLACEHOLDERS and _is_same(node, whole.nodes.get(name)))


def _is_same(node: NodeDef, other: NodeDef | None) -> bool:
    """Say whether two ops compute the same; where they are to be placed does not count."""
    if node is other or other is None:
        return node is other
    first, second = copy_of(node), copy_of(other)
    for each in (first, second):
        each.attr.pop("_class", None)
    return first == second
