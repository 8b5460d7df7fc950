"""Placeholders: what a tensor needs to be fed, and which of it are inputs, labels, switches and scalar settings."""

import re
from collections.abc import Iterable

from ckpttool.formats.wire.protos.graph_pb2 import DT_BOOL, NodeDef
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import PLACEHOLDERS

_SWITCHES = re.compile(
    r"(is_?)?train(ing)?(_?(phase|mode|flag))?|phase(_train)?|mode|keras_learning_phase", re.IGNORECASE
)
_SETTINGS = re.compile(r"(keep_?prob|dropout|drop_?rate|rate|learning_?rate|lr|batch_?size|momentum)\w*", re.IGNORECASE)
_LABELS = re.compile(r"y(_true|_?train)?|(y_|true_)?(labels?|targets?)", re.IGNORECASE)
_EMPTY_MEANS_SCALAR = 24
"""The GraphDef version from which an empty placeholder shape is a scalar's and not an unknown one."""


def placeholders_of(graph: Graph, tensor: str | None) -> list[str]:
    """Return the placeholders that a tensor needs, all of the graph's without one, in graph order."""
    needed = graph.nodes if tensor is None else graph.ancestors(TensorRef.parse(tensor).op)
    return [name for name, node in graph.nodes.items() if name in needed and node.op in PLACEHOLDERS]


def inputs(graph: Graph, fed: Iterable[str], labels: str | None) -> list[str]:
    """Return the placeholders beside labels, switches and scalar settings; only settings where there are no others."""
    found = [name for name in fed if not is_switch(graph, name) and f"{name}:0" != labels]
    plain = [name for name in found if not _is_setting(graph, name)]
    return [f"{name}:0" for name in plain or found]


def switches(graph: Graph, fed: Iterable[str]) -> list[str]:
    """Return the boolean ones among placeholders; where some are named as a training switch, these."""
    found = [name for name in fed if is_switch(graph, name)]
    named = [name for name in found if _SWITCHES.fullmatch(last_part(name))]
    return [f"{name}:0" for name in named or found]


def named_labels(fed: Iterable[str]) -> list[str]:
    """Return the placeholders that are named as labels."""
    return [f"{name}:0" for name in fed if _LABELS.fullmatch(last_part(name))]


def is_switch(graph: Graph, name: str) -> bool:
    """Say whether an op is a boolean placeholder."""
    node = graph.nodes[name]
    return node.op in PLACEHOLDERS and node.attr["dtype"].type == DT_BOOL


def _is_setting(graph: Graph, name: str) -> bool:
    """Say whether a placeholder is a scalar setting such as `keep_prob` or a learning rate."""
    return bool(_SETTINGS.fullmatch(last_part(name))) or _is_scalar(graph, graph.nodes[name])


def _is_scalar(graph: Graph, node: NodeDef) -> bool:
    """Say whether a placeholder is known to hold a scalar."""
    shape = node.attr["shape"].shape
    if node.op == "Placeholder" and graph.header.graph_def.versions.producer < _EMPTY_MEANS_SCALAR:
        return False
    return "shape" in node.attr and not shape.unknown_rank and not shape.dim


def last_part(name: str) -> str:
    """Return the name of an op without its scopes: `Relu` of `dnn/hidden2/Relu`."""
    return name.rpartition("/")[2]
