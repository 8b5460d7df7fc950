"""Graphs: ops that the gate would refuse, anywhere in a file, and graphs hidden in constants or variables."""

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
"""The maximum nesting depth of graphs within values of graphs."""
_STRING, _BYTES = 7, (4, 6)
_TYPE = re.compile(r"[A-Za-z_][\w>]*")
_LEAST = 8
"""The size in bytes of the smallest graph that could act."""


def graph_findings(path: Path) -> Iterator[Finding]:
    """Yield the ops that could act in each graph of a file.

    Raises:
        FormatError: the file is not a graph, or is damaged.
        GraphError: two ops have one name.
    """
    for graph in files.load_every(path):
        yield from of_graph(graph, path)


def hidden_findings(raw: bytes, path: Path, where: str, depth: int = 0) -> Iterator[Finding]:
    """Yield the ops that could act if a value, the string of a constant or variable, is itself a serialised graph."""
    graph = _as_graph(raw)
    if graph is None:
        return
    if depth == DEEPEST:
        yield Finding(path, "graph/hidden-graph", where, "GraphDef", "high", "graphs are nested endlessly", HIDDEN)
        return
    for found in of_graph(graph, path, depth + 1):
        reason = f"the value of {where} contains a graph, in which {found.what} {found.reason.removeprefix('it ')}"
        place = f"{where}: {found.where}"
        severity: Severity = "low" if found.severity == "low" else "high"  # it was hidden deliberately
        yield Finding(path, "graph/hidden-graph", place, found.what, severity, reason, HIDDEN)


def of_graph(graph: Graph, path: Path, depth: int = 0) -> Iterator[Finding]:
    """Yield the ops that could act in a graph, and in graphs within its values; `depth` counts these."""
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
    """Return whether a path that should stay within a folder leads out of it.

    >>> leads_out("vocab.txt"), leads_out("../../etc/passwd"), leads_out("/etc/passwd")
    (False, True, True)
    """
    return ".." in PurePosixPath(name).parts or name.startswith(("/", "~")) or bool({"\\", "\0", ":"} & set(name))


def _every_node(graph: Graph) -> Iterator[tuple[NodeDef, str]]:
    yield from ((node, "") for node in graph.nodes.values())
    for function in graph.header.graph_def.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)


def _texts(node: NodeDef) -> Iterator[bytes]:
    """Yield the attribute values of an op that could contain a message: strings, and the bytes of integer tensors."""
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
    """Return the graph that bytes encode, or None unless its ops have plausible names and types."""
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
    """Return a note if an op is run by loading, initialising or training rather than by the main path."""
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
