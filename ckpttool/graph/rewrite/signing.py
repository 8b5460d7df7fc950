"""What makes a graph one of a SavedModel: tags, a signature, and the op that gets its tables ready."""

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckpttool.graph.contents.op_outputs import dtype_of_output, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.editing import free_name
from ckpttool.graph.rewrite.prune import TABLE_INITIALIZERS
from ckpttool.graph.roles.served import Served

SERVE = "serve"
"""The tag under which graphs for serving are loaded."""
PREDICT = "tensorflow/serving/predict"
"""The method of a signature whose inputs and outputs are tensors under names of one's own."""
MAIN_OP = "saved_model_main_op"
"""The collection of the op that is run once when a graph is loaded."""
_LEGACY = "legacy_init_op"
"""What older versions called it."""


def signature_of(graph: Graph, found: Served) -> SignatureDef:
    """Return the signature of inputs and outputs, with the dtypes and shapes that the graph notes for them."""
    sides = [{key: _info(graph, tensor) for key, tensor in side.items()} for side in (found.inputs, found.outputs)]
    return SignatureDef(inputs=sides[0], outputs=sides[1], method_name=PREDICT)


def signed(graph: Graph, name: str, signature: SignatureDef) -> Graph:
    """Return the graph tagged `serve`, with this signature alone, and an op that initialises its tables on loading.

    TensorFlow 2's own description of a graph, as a tree of Python objects, goes: it names functions that are gone.
    """
    fields = ("meta_info_def", "graph_def", "saver_def", "collection_def", "asset_file_def")
    header = MetaGraphDef(**{field: getattr(graph.bare_header, field) for field in fields})
    if not graph.header.HasField("saver_def"):
        header.ClearField("saver_def")
    nodes = list(graph.nodes.values())
    del header.meta_info_def.tags[:]
    header.meta_info_def.tags.append(SERVE)
    header.signature_def[name].CopyFrom(signature)
    for key in (MAIN_OP, _LEGACY):
        header.collection_def.pop(key, None)
    tables = [op for op in graph.collection(TABLE_INITIALIZERS) if op in graph.nodes]
    if tables:
        main = free_name("init_tables", graph.nodes)
        nodes.append(NodeDef(name=main, op="NoOp", input=[f"^{op}" for op in tables]))
        header.collection_def[MAIN_OP].node_list.value.append(main)
    return graph.having(nodes, header)


def _info(graph: Graph, tensor: str) -> TensorInfo:
    ref = TensorRef.parse(tensor)
    number = dtype_of_output(graph, ref).number
    return TensorInfo(name=tensor, dtype=number, tensor_shape=shape_of_output(graph, ref))  # type: ignore[arg-type]
