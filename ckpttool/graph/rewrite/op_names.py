"""Renaming ops, with all references to them in a graph."""

import re
from collections.abc import Callable

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import copy_of
from ckpttool.graph.rewrite.header_names import rename_in_header

VALID = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""The names that TensorFlow accepts for ops (tensorflow/core/framework/node_def_util.cc)."""
Renamed = Callable[[str], str]
"""A function that returns the new name of an op or scope."""


def valid_name(name: str) -> str:
    """Return a similar name that TensorFlow accepts for an op; a valid name is unchanged.

    >>> valid_name("dense/kernel"), valid_name("_layers/0/w"), valid_name("my kernel")
    ('dense/kernel', 'layers/0/w', 'my_kernel')
    """
    return re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name).lstrip("_\\/>-") or "variable"


def with_ops_renamed(graph: Graph, renamed: Renamed) -> Graph:
    """Return the graph with renamed ops, and all references: inputs, colocations, shared names, collections.

    Savers' constants are not changed: they name tensors of the checkpoint.

    Raises:
        GraphError: two ops would have the same name.
    """
    nodes = [copy_of(node) for node in graph.nodes.values()]
    for node in nodes:
        _rename_node(node, renamed)
    header = graph.header_copy()
    rename_in_header(header, lambda text: _rename_text(text, renamed))
    return graph.having(nodes, header).apart()


def _rename_node(node: NodeDef, renamed: Renamed) -> None:
    node.name = renamed(node.name)
    node.input[:] = [_rename_text(text, renamed) for text in node.input]
    if "_class" in node.attr:
        places = node.attr["_class"].list.s
        places[:] = [b"loc:@" + renamed(raw[5:].decode()).encode() if raw[:5] == b"loc:@" else raw for raw in places]
    if node.op == "VarHandleOp" and node.attr["shared_name"].s:
        node.attr["shared_name"].s = renamed(node.attr["shared_name"].s.decode("utf-8", "replace")).encode()


def _rename_text(text: str, renamed: Renamed) -> str:
    """Rename the op in the name of an op, tensor or control input.

    >>> [_rename_text(text, str.upper) for text in ("^a/b", "a/b:1", "a")]
    ['^A/B', 'A/B:1', 'A']
    """
    name, colon, index = text.removeprefix("^").partition(":")
    return "^" * text.startswith("^") + renamed(name) + colon + index
