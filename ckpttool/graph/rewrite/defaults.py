"""Placeholders that nothing feeds: a training switch is off, and what has a default has its default for good."""

from collections.abc import Collection

import numpy as np

from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, TensorShapeProto
from ckpttool.graph.contents.constants import constant, numbers
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.branch_folding import take_branches
from ckpttool.graph.rewrite.editing import Draft, free_name
from ckpttool.graph.roles.modes import mode_placeholders

_DEFAULTED = "PlaceholderWithDefault"


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
    truths = {name: truth for name in pinned if name in switches and (truth := _truth(graph, name)) is not None}
    draft = Draft(take_branches(graph, truths))
    for node in map(draft.op, pinned):
        node.op = "Identity"
        node.attr["T"].CopyFrom(node.attr["dtype"])
        for key in ("dtype", "shape"):
            node.attr.pop(key, None)
    return draft.sealed()


def _truth(graph: Graph, name: str) -> bool | None:
    """Return the default of a training switch, None where it is computed."""
    value = numbers(graph.nodes[graph.inputs(name)[0].op])
    return bool(value) if value is not None and value.size == 1 else None
