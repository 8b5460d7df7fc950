"""Graphs: the ops that the gate would refuse, wherever in a file they are, and graphs that are hidden in values."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from google.protobuf.message import DecodeError

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import acting_ops
from ckpttool.graph.rewrite.tables import asset_files
from ckpttool.scanning.finding import Finding, Severity
from ckpttool.scanning.op_effects import effect_of

ALLOWED = "commands that run graphs refuse it, unless their `allow_op` names its type"
HIDDEN = "ckpttool never runs it; do not pass the value to DatasetFromGraph or a session"
DEEPEST = 8
"""Graphs in values of graphs in values."""
_STRING, _BYTES = 7, (4, 6)
_TYPE = re.compile(r"[A-Za-z_][\w>]*")
_LEAST = 8
"""Bytes of the smallest graph that could act."""


def graph_findings(path: Path) -> Iterator[Finding]:
    """Yield what could act in each graph of a file.

    Raises:
        FormatError: it is not a graph, or damaged.
        GraphError: two ops have one name.
    """
    for graph in files.load_every(path):
        yield from _of_graph(graph, path)


def hidden_findings(raw: bytes, path: Path, where: str, depth: int = 0) -> Iterator[Finding]:
    """Yield what could act in the graph that a value holds, if it holds one: a text in a constant, or in a variable."""
    graph = _as_graph(raw)
    if graph is None:
        return
    if depth == DEEPEST:
        yield Finding(path, "graph/hidden-graph", where, "GraphDef", "high", "graphs are nested endlessly", HIDDEN)
        return
    for found in _of_graph(graph, path, depth + 1):
        reason = f"the value of {where} contains a graph, in which {found.what} {found.reason.removeprefix('it ')}"
        place = f"{where}: {found.where}"
        severity: Severity = "low" if found.severity == "low" else "high"  # what acts was hidden for a purpose
        yield Finding(path, "graph/hidden-graph", place, found.what, severity, reason, HIDDEN)


def _of_graph(graph: Graph, path: Path, depth: int = 0) -> Iterator[Finding]:
    for node, function in acting_ops(graph):
        effect = effect_of(node)
        where = f"{function}/{node.name}" if function else node.name
        reason = f"it {effect.reason}{_when(graph, node, function)}"
        yield Finding(path, effect.kind, where, node.op, effect.severity, reason, ALLOWED)
    for node, function in _every_node(graph):
        where = f"{function}/{node.name}" if function else node.name
        for raw in _texts(node):
            yield from hidden_findings(raw, path, where, depth)
    for asset in asset_files(graph):
        if leads_out(asset.filename):
            reason = "TensorFlow joins the name with the folder of assets unchecked, and reads the file there"
            where = asset.tensor_info.name
            yield Finding(path, "graph/asset-path", where, asset.filename, "high", reason, "remove the asset")


def leads_out(name: str) -> bool:
    """Say whether a name that should be of a file in a folder leads elsewhere.

    >>> leads_out("vocab.txt"), leads_out("../../etc/passwd"), leads_out("/etc/passwd")
    (False, True, True)
    """
    return ".." in PurePosixPath(name).parts or name.startswith(("/", "~")) or bool({"\\", "\0", ":"} & set(name))


def _every_node(graph: Graph) -> Iterator[tuple[NodeDef, str]]:
    yield from ((node, "") for node in graph.nodes.values())
    for function in graph.header.graph_def.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)


def _texts(node: NodeDef) -> Iterator[bytes]:
    """Yield the values of an op that could hold a message: texts, and the bytes of whole numbers."""
    for attr in node.attr.values():
        if attr.WhichOneof("value") == "tensor":
            yield from attr.tensor.string_val
            if attr.tensor.dtype in _BYTES:
                yield attr.tensor.tensor_content or bytes(number & 255 for number in attr.tensor.int_val)
        elif attr.WhichOneof("value") == "s":
            yield attr.s
        elif attr.WhichOneof("value") == "list":
            yield from attr.list.s


def _as_graph(raw: bytes) -> Graph | None:
    """Return the graph that bytes are the message of: one in which ops have names, and types that can be."""
    if len(raw) < _LEAST:
        return None
    for message in (GraphDef(), MetaGraphDef()):
        try:
            message.ParseFromString(raw)
        except (DecodeError, RecursionError):
            continue
        graph_def = message.graph_def if isinstance(message, MetaGraphDef) else message
        bodies = [node for function in graph_def.library.function for node in function.node_def]
        nodes = [*graph_def.node, *bodies]
        if nodes and all(node.name and _TYPE.fullmatch(node.op) for node in nodes):
            try:
                return Graph(MetaGraphDef(graph_def=graph_def), "a value")
            except GraphError:
                continue
    return None


def _when(graph: Graph, node: NodeDef, function: str) -> str:
    """Say of an op that something special runs it: loading, initialising, or training."""
    if function:
        return ", where the function is called"
    for key, what in (
        ("update_ops", "in each step of training"),
        ("legacy_init_op", "when the model is loaded"),
        ("saved_model_main_op", "when the model is loaded"),
        ("table_initializer", "when tables are filled"),
        ("train_op", "in each step of training"),
    ):
        if node.name in graph.collection(key):
            return f", {what}"
    return ""
