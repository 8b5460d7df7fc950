"""Ends: the possible outputs of a graph without a loss and a signature.

These are the tensors that no other op of the forward part reads. Gradients, updates, savers, summaries and initialisers
are not part of it, nor are ops that depend on labels, since these are not available when a model is served.
"""

import re
from collections.abc import Collection

from ckpttool.graph.contents.dependence import is_gradient
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.savers import savers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ASIDE, EXITS, NO_RESULT, PLACEHOLDERS, SHAPED_LIKE, STREAMS, VARIABLES
from ckpttool.graph.roles.placeholders import inputs, last_part, named_labels, placeholders_of

_NAMED = re.compile(
    r"(.*_)?(logits?|prob(abilit(y|ies)|s)?|predictions?|preds?|softmax|sigmoid|scores?|outputs?|out|y_?(hat|pred)|result)"
    r"(_\d+)?",
    re.IGNORECASE,
)
"""Common names of outputs."""
_SUMMARIES = re.compile(r".*Summary(V2)?")


def ends(graph: Graph, beside: Collection[str] = ()) -> list[str]:
    """Return the possible output ops of a graph, the likeliest first; `beside` are the ops of a loss and of labels.

    Ops that depend on labels are returned only if there are no others, and so are ops that depend on no variable.
    """
    forward = _forward(graph)
    labels = {TensorRef.parse(name).op for name in named_labels(placeholders_of(graph, None))}
    judged = graph.descendants({*labels, *beside} & graph.nodes.keys())
    plain = [name for name in graph.nodes if name in forward and name not in judged]
    found = _unread(graph, plain) or _unread(graph, [name for name in graph.nodes if name in forward])
    learned = graph.descendants((name for name, node in graph.nodes.items() if node.op in VARIABLES), but=SHAPED_LIKE)
    found = [name for name in found if name in learned] or found
    return sorted(found, key=lambda name: (not _NAMED.fullmatch(last_part(name)), graph.nodes[name].op in EXITS))


def _forward(graph: Graph) -> set[str]:
    """Return the ops that depend on fed rows, without those for training, saving and reports."""
    places = (TensorRef.parse(saver.filename_tensor_name).op for saver in savers(graph))
    files = graph.ancestors(*(op for op in places if op in graph.nodes))
    fed = [name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS and name not in files]
    rows = {TensorRef.parse(name).op for name in inputs(graph, fed, None)}
    rows |= {name for name, node in graph.nodes.items() if node.op in STREAMS}
    backward = graph.descendants(name for name in graph.nodes if is_gradient(name))
    needing = graph.descendants(rows, but=SHAPED_LIKE) - rows - backward
    return {name for name in needing if not _is_aside(graph, name)}


def _is_aside(graph: Graph, name: str) -> bool:
    op = graph.nodes[name].op
    return op in ASIDE or op in NO_RESULT


def _unread(graph: Graph, names: Collection[str]) -> list[str]:
    """Return the ops that no other of them reads.

    Ops that only summaries read, and ops inside a conditional or loop, are returned only if there are no others.
    """
    known, inner = set(names), Flow.of(graph).regions
    found = [name for name in names if known.isdisjoint(graph.consumers.get(name, ()))]
    return [name for name in found if not (_is_report(graph, name) or name in inner)] or found


def _is_report(graph: Graph, name: str) -> bool:
    """Return whether a value is read by summaries only."""
    readers = graph.consumers.get(name, [])
    return bool(readers) and all(_SUMMARIES.fullmatch(graph.nodes[reader].op) for reader in readers)
