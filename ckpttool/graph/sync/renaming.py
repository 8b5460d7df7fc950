"""Renaming variables, with all ops below their scopes, wherever a graph names them."""

import re
from collections.abc import Callable, Mapping

from ckpttool.core.errors import PlanError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import copy_of
from ckpttool.graph.rewrite.header_names import rename_in_header

_VALID = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""What TensorFlow takes as the name of an op (tensorflow/core/framework/node_def_util.cc)."""
_Renamed = Callable[[str], str]


def rename_variables(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with variables under other names: `names` has the new one by the variable's own.

    A variable's op is renamed with all that lies below its scope (`/Assign`, `/read`, `/Initializer/...`, slices), but
    not its slots: these are variables, and have names of their own. Inputs, colocations, shared names, collections,
    signatures and contexts of conditionals and loops follow; the savers' constants do not.

    Raises:
        PlanError: two ops would have one name, or TensorFlow takes no op of that name.
    """
    if all(old == new for old, new in names.items()):
        return graph
    renamed = _renaming(graph, names)
    _refuse_clashes(graph, renamed)
    nodes = [copy_of(node) for node in graph.nodes.values()]
    for node in nodes:
        _rename_node(node, renamed)
    header = graph.header_copy()
    rename_in_header(header, lambda text: _rename_text(text, renamed))
    return graph.having(nodes, header).apart()


def _renaming(graph: Graph, names: Mapping[str, str]) -> _Renamed:
    """Return what gives each op's or scope's name its new one: that of the innermost variable which it lies below."""
    scopes = {}
    for variable in variables(graph).values():
        own = variable.own_name
        scopes[own] = new = names.get(own, own)
        if variable.op == own or variable.op.startswith(f"{own}/"):
            scopes[variable.op] = new + variable.op.removeprefix(own)

    def renamed(name: str) -> str:
        scope = name
        while scope and scope not in scopes:
            scope = scope.rpartition("/")[0]
        return scopes[scope] + name.removeprefix(scope) if scope else name

    return renamed


def _refuse_clashes(graph: Graph, renamed: _Renamed) -> None:
    owners: dict[str, str] = {}
    for name in graph.nodes:
        new = renamed(name)
        if new in owners:
            raise PlanError(f"{graph.source}: the ops {owners[new]} and {name} would both be named {new}")
        if new != name and not _VALID.fullmatch(new):
            raise PlanError(f"{graph.source}: {name} cannot be named {new!r}: TensorFlow takes no such name for an op")
        owners[new] = name


def _rename_node(node: NodeDef, renamed: _Renamed) -> None:
    node.name = renamed(node.name)
    node.input[:] = [_rename_text(text, renamed) for text in node.input]
    if "_class" in node.attr:
        places = node.attr["_class"].list.s
        places[:] = [b"loc:@" + renamed(raw[5:].decode()).encode() if raw[:5] == b"loc:@" else raw for raw in places]
    if node.op == "VarHandleOp" and node.attr["shared_name"].s:
        node.attr["shared_name"].s = renamed(node.attr["shared_name"].s.decode("utf-8", "replace")).encode()


def _rename_text(text: str, renamed: _Renamed) -> str:
    """Rename in an op's or tensor's name, also where it is a control input.

    >>> [_rename_text(text, str.upper) for text in ("^a/b", "a/b:1", "a")]
    ['^A/B', 'A/B:1', 'A']
    """
    name, colon, index = text.removeprefix("^").partition(":")
    return "^" * text.startswith("^") + renamed(name) + colon + index
