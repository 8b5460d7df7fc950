"""Serving: the part of a graph that computes outputs from inputs, defaults for what nobody feeds, and a signature."""

from collections.abc import Collection

import numpy as np

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NodeDef, TensorShapeProto
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SignatureDef, TensorInfo
from ckpttool.graph.contents.constants import constant, numbers
from ckpttool.graph.contents.op_outputs import dtype_of_output, shape_of_output
from ckpttool.graph.core import FreeNames, Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.draft import Draft, free_name, type_attr
from ckpttool.graph.rewrite.prune import TABLE_INITIALIZERS, subgraph, with_updates
from ckpttool.graph.rewrite.simplify import fold_branches
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
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
_DEFAULTED = "PlaceholderWithDefault"


def serving_part(graph: Graph, serves: Served, training: bool = False) -> tuple[Graph, Served]:
    """Return what outputs need from inputs, with the variables' initialisers, and the inputs and outputs there.

    An input that was no placeholder becomes one, and what computed it goes: `dnn/hidden1/Relu:0` keeps its name,
    another output of an op gets one of its own. Where `training` goes on with the part, it keeps what moves the moving
    averages of what it computes.

    Raises:
        GraphError: the outputs do not need such an input.
    """
    graph = with_whole_rows(graph, list(serves.outputs.values()))
    refs = [TensorRef.parse(text) for text in serves.inputs.values()]
    cut = [ref for ref in refs if graph.nodes[ref.op].op not in PLACEHOLDERS]
    kept = [str(ref) for ref in refs if ref not in cut]
    wanted, boundary = [*serves.outputs.values(), *kept], [str(ref) for ref in cut]
    part = with_updates(graph, wanted, boundary) if training else subgraph(graph, wanted, boundary, initializers=True)
    names, made = FreeNames(part.nodes), dict[TensorRef, NodeDef]()
    for ref in cut:
        if ref not in part.readers:
            raise GraphError(f"{graph.source}: `inputs` {ref}: the outputs do not need it")
        made[ref] = NodeDef(name=names.free(ref.op if ref.index == 0 else f"{ref.op}_{ref.index}"), op="Placeholder")
        made[ref].attr["dtype"].CopyFrom(type_attr(dtype_of_output(graph, ref).number))
        made[ref].attr["shape"].shape.CopyFrom(shape_of_output(graph, ref))
    draft = Draft(part)
    draft.redirect({ref: TensorRef(node.name, 0) for ref, node in made.items()})
    draft.nodes = {node.name: node for node in made.values()} | draft.nodes
    renamed = {str(ref): f"{node.name}:0" for ref, node in made.items()}
    inputs = {key: renamed.get(tensor, tensor) for key, tensor in serves.inputs.items()}
    return draft.sealed(), Served(inputs, serves.outputs, serves.why)


def switched_off(graph: Graph, fed: Collection[str]) -> Graph:
    """Return the graph whose training switches (ops that are not `fed`) are False unless somebody feeds them.

    A switch is a placeholder of a single truth value.
    """
    draft, defaults = Draft(graph), {}
    for name in mode_placeholders(graph):
        if name not in fed and graph.nodes[name].op != _DEFAULTED:
            node = draft.op(name)
            default = constant(free_name(f"{name}/default", graph.nodes), np.array(False), BY_NAME["bool"])
            node.op = _DEFAULTED
            node.input.append(default.name)
            node.attr["shape"].CopyFrom(AttrValue(shape=TensorShapeProto()))
            defaults[default.name] = default
    draft.nodes = defaults | draft.nodes
    return draft.sealed()


def pinned_to_defaults(graph: Graph, fed: Collection[str]) -> Graph:
    """Return the graph whose placeholders (ops that are not `fed`) give their defaults, and conditionals follow.

    What is then read no more is still there, for `subgraph` to leave out.
    """
    pinned = [name for name, node in graph.nodes.items() if node.op == _DEFAULTED and name not in fed]
    switches = mode_placeholders(graph)
    defaults = {name: numbers(graph.nodes[graph.inputs(name)[0].op]) for name in pinned if name in switches}
    truths = {name: bool(value) for name, value in defaults.items() if value is not None and value.size == 1}
    draft = Draft(fold_branches(graph, truths))
    for node in map(draft.op, pinned):
        node.op = "Identity"
        node.attr["T"].CopyFrom(node.attr["dtype"])
        for key in ("dtype", "shape"):
            node.attr.pop(key, None)
    return draft.sealed()


def signature_of(graph: Graph, serves: Served) -> SignatureDef:
    """Return the signature of inputs and outputs, with the dtypes and shapes that the graph notes for them."""
    sides = [{key: _info(graph, tensor) for key, tensor in side.items()} for side in (serves.inputs, serves.outputs)]
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
